"""Files in another form than the plain one: taken where there is one meaning, else refused."""

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from jaxmia import Experiment, data, pipeline, recipes
from jaxmia.command import app
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.report import write

RNG = np.random.default_rng(0)
M, N, C = 8, 40, 3
HALF = RNG.random((M // 2, N)) < 0.5
MEMBER = np.stack([HALF, ~HALF], 1).reshape(M, N)
LOGITS = RNG.normal(size=(M, N, C)).astype("f4")
LABELS = RNG.integers(C, size=N)
PHI = (RNG.normal(size=(M, N)) + MEMBER).astype("f4")
PERSON = np.arange(N)


def run(capsys, line):
    try:
        app.main(["score", *line.split(), "--out", "out", "--json"])
    except SystemExit as end:
        return end.code, capsys.readouterr().err
    return 0, json.loads(capsys.readouterr().out)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(write, "report", lambda *args: [])  # nothing of this is drawn
    arrays = {"phi": PHI, "logits": LOGITS, "labels": LABELS, "member": MEMBER, "person": PERSON,
              "target": PHI[0], "truth": MEMBER[0], "pairs": np.arange(M) // 2}  # fmt: skip
    for name, array in arrays.items():
        np.save(name, array)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("labels", LABELS.astype("f8")),
        ("labels", LABELS[:, None].astype("u1")),
        ("member", MEMBER.astype("f4")),
        ("member", MEMBER[..., None].astype("i2")),
        ("truth", MEMBER[0][:, None]),
        ("truth", MEMBER[0].astype("f8")),
        ("person", PERSON.astype("f8")),
        ("person", np.array([f"p{i:02}" for i in PERSON])),
        ("person", PERSON[:, None]),
        ("pairs", (np.arange(M) // 2).astype("f4")),
        ("pairs", np.array(list("aabbccdd"))),
    ],
)
def test_what_has_one_meaning_is_taken(here, capsys, name, form):
    line = {
        "labels": "--logits logits.npy --labels labels.npy --member member.npy",
        "truth": "--signals phi.npy --member member.npy --target target.npy --target-member "
        "truth.npy",
        "person": "--signals phi.npy --member member.npy --person person.npy",
        "pairs": "--signals phi.npy --member member.npy --pairs pairs.npy",
        "member": "--signals phi.npy --member member.npy",
    }[name]
    code, plain = run(capsys, line)
    assert code == 0, plain
    np.save(name, form)
    code, other = run(capsys, line)
    assert code == 0, other
    assert other == plain


def hdf5():
    return b"\x89HDF\r\n\x1a\n" + bytes(50)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"0.1,0.2\n0.3,0.4\n", "is text: np.save"),
        (lambda: gzip.compress(b"0.1,0.2"), "is compressed by gzip"),
        (lambda: pickle.dumps(PHI), "is a pickle, which is never opened"),
        (hdf5, "is HDF5"),
        (lambda: b"", "is empty"),
        (lambda: b"PAR1" + bytes(range(200)), "begins with b'PAR1"),
    ],
)
def test_what_is_no_npy_is_called_by_its_name(here, capsys, content, words):
    (here / "phi.npy").write_bytes(content())
    code, error = run(capsys, "--signals phi.npy --member member.npy")
    assert code == 2 and words in error and "allow_pickle" not in error
    assert len(error.strip().splitlines()) == 1


def test_objects_are_said_how_to_save(here, capsys):
    for name in ("labels", "person"):
        np.save(name, PERSON.astype(object), allow_pickle=True)
    lines = (
        "--logits logits.npy --labels labels.npy --member member.npy",
        "--signals phi.npy --member member.npy --person person.npy",
    )
    for line in lines:
        code, error = run(capsys, line)
        assert code == 2 and "is an array of Python objects: save it as numbers" in error


def test_a_damaged_zarr_folder_is_one_line_that_ends(here, capsys):
    where = {"driver": "file", "path": f"{here}/signals/"}
    store = tensorstore.open(
        {"driver": "zarr3", "kvstore": where}, create=True, dtype="float32", shape=PHI.shape
    ).result()
    store.write(PHI).result()
    for wrong in ("{", '{"zarr_format": 3}'):
        (here / "signals/zarr.json").write_text(wrong)
        code, error = run(capsys, "--signals signals --member member.npy")
        assert code == 2 and "tensorstore_spec" not in error
        assert error.strip().endswith(")") and error.count("(") == error.count(")")


def test_no_attacks_at_all_is_refused(here, capsys):
    code, error = run(capsys, "--signals phi.npy --member member.npy --attacks")
    assert code == 2 and "--attacks: names none" in error


def test_a_folder_may_be_a_string(here):
    recipe = recipes.sgd(mlp(4), epochs=1)
    experiment = Experiment("few", data.synthetic(20, 3, 2), recipe, models=2)
    assert pipeline.run(experiment, Options(workdir="w")).path == Path("w")
