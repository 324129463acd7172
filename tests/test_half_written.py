"""A file that was filled half way is refused, by what is missing; constant signals score 1/2."""

import json

import numpy as np
import pytest

from jaxmia import design, metrics
from jaxmia.attacks import ATTACKS, attack_every_model
from jaxmia.command import app
from jaxmia.storage.sources import opened
from jaxmia.types import Signals

M, N = 8, 60
R = np.random.default_rng(0)
MEMBER = design.poisson(0.5)(0, M, N)
PHI = (R.normal(size=(M, N)) + MEMBER).astype(np.float32)


def flags(folder, **arrays):
    out = ["score", "--out", str(folder / "out")]
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        out += [f"--{name.replace('_', '-')}", str(folder / f"{name}.npy")]
    return out


def refused(capsys, args):
    with pytest.raises(SystemExit) as stopped:
        app.main(args)
    assert stopped.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    return line.removeprefix("jaxmia: ")


@pytest.mark.parametrize("how", ["always", "never"])
def test_models_that_were_not_written_are_named(tmp_path, capsys, how):
    half = np.lib.format.open_memmap(tmp_path / "half.npy", "w+", np.float32, (M, N))
    half[:5] = PHI[:5]
    args = flags(tmp_path, signals=half, member=MEMBER)
    complaint = "models [5, 6, 7] have one and the same value for every example: half-written?"
    assert refused(capsys, [*args, "--stream", how]) == f"--signals: {complaint}"
    assert not (tmp_path / "out").exists()
    args = flags(tmp_path, signals=PHI, member=MEMBER, target=np.zeros(N, np.float32))
    assert refused(capsys, [*args, "--stream", how]).startswith("--target: models [0] have one")


def test_logits_that_were_not_written_are_named(tmp_path, capsys):
    z = np.stack([-PHI, PHI], -1)
    z[6] = 0
    args = flags(tmp_path, logits=z, labels=np.ones(N, int), member=MEMBER)
    assert refused(capsys, args).startswith("--logits: models [6] have one and the same value")


@pytest.mark.parametrize("how", ["always", "never"])
@pytest.mark.parametrize("value", [0, 13.8])
def test_signals_that_are_all_the_same_score_one_half(tmp_path, capsys, how, value):
    args = flags(tmp_path, signals=np.full((M, N), value, np.float32), member=MEMBER)
    app.main([*args, "--stream", how, "--json"])
    for attack in json.loads(capsys.readouterr().out)["attacks"].values():
        assert attack["auc"] == 0.5 and attack["tpr_at_fpr"]["0.001"] == 0


def test_no_attack_ranks_constants_by_how_many_references_there_are():
    member = design.poisson(0.5)(1, 16, 200)
    for value in (0.0, 0.3, 1e6):
        for name, attack in ATTACKS.items():
            if attack.needs == ("phi",):
                score = attack_every_model(Signals(np.full((16, 200, 1), value)), member, [name])
                assert metrics.auc(score[name], member) == 0.5, (name, value)


@pytest.mark.parametrize("format", [2, 3])
def test_chunks_that_were_not_written_are_counted(tmp_path, capsys, format):
    import zarr

    array = zarr.create_array(
        str(tmp_path / "z"), shape=(M, N), chunks=(3, 25), dtype="f4", zarr_format=format
    )
    array[:3], array[3:6, :25] = PHI[:3], PHI[3:6, :25]
    np.save(tmp_path / "member.npy", MEMBER)
    args = ["score", "--signals", str(tmp_path / "z"), "--member", str(tmp_path / "member.npy"),
            "--out", str(tmp_path / "out")]  # fmt: skip
    for how in ("always", "never"):
        line = refused(capsys, [*args, "--stream", how])
        assert "lacks 5 of its 9 chunks: half-written?" in line and line.startswith("--signals:")
    array[:] = PHI
    np.testing.assert_array_equal(opened("--signals", tmp_path / "z").read().result(), PHI)


def test_chunks_within_shards_are_counted(tmp_path):
    import zarr

    array = zarr.create_array(
        str(tmp_path / "z"), shape=(M, N), chunks=(2, 20), shards=(4, 60), dtype="f4"
    )
    array[:4] = PHI[:4]
    with pytest.raises(ValueError, match="lacks 6 of its 12 chunks"):
        opened("--signals", tmp_path / "z")
    zeros = zarr.create_array(
        str(tmp_path / "0"), shape=(M, N), chunks=(2, 20), dtype="f4",
        config={"write_empty_chunks": True},
    )  # fmt: skip
    zeros[:] = 0
    assert not opened("--signals", tmp_path / "0").read().result().any()


@pytest.mark.parametrize("name, value", [("phi", np.nan), ("member", False), ("y", 0)])
def test_arrays_of_a_run_that_are_all_of_one_value_lack_nothing(tmp_path, name, value):
    from jaxmia.storage.arrays import Arrays
    from jaxmia.storage.local import LocalFolder

    arrays = Arrays(LocalFolder(tmp_path / "signals.zarr"), 2)
    if name == "y":
        arrays.write_fixed(name, np.zeros(N, np.int32))
    for first in () if name == "y" else range(0, M, 2):  # as of models that diverged
        rows = np.full((2, N), value, np.float32 if name == "phi" else bool)
        arrays.write(range(first, first + 2), M, name, rows)
    array = opened(f"--{name}", tmp_path / "signals.zarr" / name).read().result()
    np.testing.assert_array_equal(array, np.full(array.shape, value))
