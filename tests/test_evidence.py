import json

import numpy as np
import pytest

from jaxmia import design
from jaxmia.command import app
from jaxmia.evaluation import evidence

RNG = np.random.default_rng(0)
M, N = 8, 200
MEMBER = design.complementary_halves(0, M, N)
Y = RNG.integers(4, size=N)


def test_models_that_learned_are_not_doubted():
    margin = np.where(RNG.random((M, N)) < 0.9, 1.0, -1.0)
    assert evidence.of_models(margin, MEMBER, Y) == []


@pytest.mark.parametrize(
    "kind, words",
    [
        ("chance", "8 of 8 (0, 1, 2, 3, 4, ...) are no better"),
        ("class", "of 1 of 4 classes (2)"),
        ("one", "1 of 8 (3) differ in training accuracy"),
    ],
)
def test_models_that_learned_nothing_are_said_so(kind, words):
    margin = np.ones((M, N))
    if kind == "chance":
        margin[:, Y != np.bincount(Y).argmax()] = -1
    elif kind == "class":
        margin[:, Y == 2] = -1
    else:
        margin[3, RNG.random(N) < 0.4] = -1
    notes = evidence.of_models(margin, MEMBER, Y)
    assert len(notes) == 1 and words in notes[0], notes


def test_a_diverged_model_is_not_judged():
    margin = np.ones((M, N))
    margin[2] = np.nan
    assert evidence.of_models(margin, MEMBER, Y) == []


def test_losses_and_turned_arrays_are_seen():
    phi = RNG.normal(size=(M, N)) + 2 * MEMBER
    assert evidence.of_signals(phi, MEMBER) == []
    assert "look like losses" in evidence.of_signals(np.log1p(np.exp(-phi)), MEMBER)[0]
    assert "transpose" in evidence.of_signals(phi.T, MEMBER.T)[0]


def test_pairs_that_are_no_complements_are_named():
    pairs = np.arange(M) // 2
    assert evidence.of_pairs(pairs, MEMBER) == []
    assert "models 0 and 2" in evidence.of_pairs(np.array([0, 1, 0, 1, 2, 2, 3, 3]), MEMBER)[0]


def test_warnings_come_before_any_number(tmp_path, capsys, as_users_run):
    loss = np.log1p(np.exp(-(RNG.normal(size=(M, N)) + 2 * MEMBER))).astype("f4")
    np.save(tmp_path / "s.npy", loss)
    np.save(tmp_path / "m.npy", MEMBER)
    files = ["--signals", str(tmp_path / "s.npy"), "--member", str(tmp_path / "m.npy")]
    app.main(["score", *files, "--out", str(tmp_path / "o"), "--attacks", "global_threshold"])
    assert capsys.readouterr().out.startswith("WARNING: The signals look like losses")
    assert "losses" in json.loads((tmp_path / "o/summary.json").read_text())["warnings"][0]
    page = (tmp_path / "o/report/index.html").read_text()
    assert 0 < page.index("look like losses") < page.index("<h1>")


def test_probabilities_are_no_logits_and_transposed_membership_is_named(tmp_path, capsys):
    p = RNG.dirichlet(np.ones(4), size=(M, N)).astype("f4")
    for name, array in (("p", p), ("y", Y), ("m", MEMBER), ("t", MEMBER.T), ("s", p[..., 0])):
        np.save(tmp_path / f"{name}.npy", array)
    at = {n: str(tmp_path / f"{n}.npy") for n in "pymts"}
    for words, complaint in (
        (["--logits", at["p"], "--labels", at["y"], "--member", at["m"]], "probabilities"),
        (["--signals", at["s"], "--member", at["t"]], "transpose"),
    ):
        with pytest.raises(SystemExit) as end:
            app.main(["score", *words, "--out", str(tmp_path / "o")])
        assert end.value.code == 2 and complaint in capsys.readouterr().err
