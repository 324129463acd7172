import subprocess
import sys
import time

import jax
import numpy as np

from jaxmia.storage import checkpoints
from jaxmia.storage.local import LocalFolder
from jaxmia.training import parallel

TREE = {
    "w": np.arange(24, dtype=np.float32).reshape(4, 6),
    "count": np.arange(4, dtype=np.int32),
    "nothing": np.empty((4, 0), np.float32),
    "list": [np.ones((4, 2), np.float32), ()],
}


def like(tree):
    return jax.eval_shape(lambda: tree)


def test_round_trip_of_sharded_arrays_and_the_newest_two_stay(tmp_path):
    tree = TREE | {"sharded": np.asarray(parallel.spread(TREE["w"], parallel.mesh()))}
    for epoch in (1, 2, 3):
        checkpoints.save(LocalFolder(tmp_path / "0000"), epoch, tree)
    state, reason = checkpoints.restore(LocalFolder(tmp_path / "0000"), 3, like(tree))
    assert reason == ""
    jax.tree.map(np.testing.assert_array_equal, state, tree)
    assert sorted(p.name for p in (tmp_path / "0000").iterdir()) == ["000002", "000003"]
    checkpoints.remove(LocalFolder(tmp_path / "0000"))
    assert not (tmp_path / "0000").exists()


def test_other_weights_are_noticed(tmp_path):
    checkpoints.save(LocalFolder(tmp_path), 1, TREE)
    digests = tmp_path / "000001" / "digests.json"
    digests.write_text(digests.read_text().replace("a", "b"))
    state, reason = checkpoints.restore(LocalFolder(tmp_path), 1, like(TREE))
    assert state is None and "does not match its digest" in reason


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    checkpoints.save(LocalFolder(tmp_path), 1, TREE)
    files = [p for p in (tmp_path / "000001").rglob("*") if p.is_file()]
    for file in files:
        content = file.read_bytes()
        for at in {0, len(content) // 2, len(content) - 1} if content else ():
            file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            state, reason = checkpoints.restore(LocalFolder(tmp_path), 1, like(TREE))
            if state is None:
                assert reason
            else:
                jax.tree.map(np.testing.assert_array_equal, state, TREE)
        file.write_bytes(content)


def test_killed_while_saving_the_older_one_is_whole(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from jaxmia.storage import checkpoints; from jaxmia.storage.local import LocalFolder\n"
        f"folder = LocalFolder(Path({str(tmp_path)!r}))\n"
        "tree = [np.full((8, 40000), e, np.float32) for e in range(4)]\n"
        "checkpoints.save(folder, 1, tree); print('saved', flush=True)\n"
        "for epoch in range(2, 999): checkpoints.save(folder, epoch, tree)"
    )
    tree = [np.full((8, 40000), e, np.float32) for e in range(4)]
    for wait in (0.01, 0.09, 0.23):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(wait)
        child.kill()
        child.wait()
        epochs = sorted(int(p.name) for p in tmp_path.glob("[0-9]*") if p.name.isdigit())
        sound = [checkpoints.restore(LocalFolder(tmp_path), e, like(tree))[0] for e in epochs]
        assert any(s is not None for s in sound)
        for s in sound:
            if s is not None:
                jax.tree.map(np.testing.assert_array_equal, s, tree)
        checkpoints.remove(LocalFolder(tmp_path))
