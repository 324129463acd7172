import json
from functools import reduce
from operator import add

import numpy as np
import pytest

from jaxmia import design
from jaxmia.command import app
from jaxmia.evaluation import evidence, plausible, streamed_signals

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


def doubts(phi, member, target=None, truth=None, width=N):
    """By panels of so many examples, the last one narrower."""
    parts = [
        plausible.sums(phi[:, at], member[:, at], *(a if a is None else a[:, at] for a in
                       (target, truth)), at.start)
        for at in (slice(i, i + width) for i in range(0, phi.shape[1], width))
    ]  # fmt: skip
    return plausible.doubts(reduce(add, parts))


@pytest.mark.parametrize("width", [N, 7])
def test_losses_and_turned_arrays_are_seen(width):
    phi = RNG.normal(size=(M, N)) + 2 * MEMBER + RNG.normal(size=N)
    assert doubts(phi, MEMBER, width=width) == []
    assert "look like losses" in doubts(np.log1p(np.exp(-phi)), MEMBER, width=width)[0]
    assert "look like [N, M]: transpose" in doubts(phi.T, MEMBER.T, width=width)[0]
    flat = RNG.normal(size=(M, N))  # neighbouring columns alone tell it
    assert "transpose" in doubts(flat.T, MEMBER.T, width=4)[0]
    assert doubts(phi[:, :6], MEMBER[:, :6]) == []  # few examples are no fault


@pytest.mark.parametrize("width", [N, 7])
@pytest.mark.parametrize("truth", [MEMBER[:2], None])
def test_a_targets_losses_and_another_scale_are_seen(width, truth):
    phi = RNG.normal(size=(M, N)) + 2 * MEMBER + 2 * RNG.normal(size=N) + 3
    own, rest, member = phi[:2], phi[2:], MEMBER[2:]
    for sound in (own, 1.5 * own + 1):
        assert doubts(rest, member, sound, truth, width) == []
    losses = doubts(rest, member, np.log1p(np.exp(-own)), truth, width)
    assert "The target" in losses[0] and "losses" in losses[0]
    scaled = doubts(rest, member, np.stack([own[0], own[1] / 10]), truth, width)
    assert len(scaled) == 1 and "on another scale" in scaled[0] and "(target 1: " in scaled[0]
    assert "on another scale" in doubts(rest, member, own + 50, truth, width)[0]


def test_pairs_that_are_no_complements_are_named():
    pairs, halves = np.arange(M) // 2, (MEMBER[:, :100], MEMBER[:, 100:])
    assert evidence.of_pairs(pairs, halves) == []
    said = evidence.of_pairs(np.array([0, 1, 0, 1, 2, 2, 3, 3]), halves)
    assert "models 0 and 2" in said[0]
    member = MEMBER.copy()
    member[3, 150] = member[2, 150]
    assert "models 2 and 3" in evidence.of_pairs(pairs, (member[:, :100], member[:, 100:]))[0]


@pytest.mark.parametrize("how", ["always", "never"])
def test_streamed_scores_have_the_same_warnings(tmp_path, capsys, as_users_run, monkeypatch, how):
    monkeypatch.setattr(streamed_signals, "PANEL_BYTES", 1000)
    phi = RNG.normal(size=(M, N)) + 2 * MEMBER + 2 * RNG.normal(size=N)
    for name, array in (
        ("s", np.log1p(np.exp(-phi))), ("m", MEMBER), ("t", phi[0] * 30),
        ("q", np.array([0, 1, 0, 1, 2, 2, 3, 3])),
    ):  # fmt: skip
        np.save(tmp_path / f"{name}.npy", array.astype("f4") if name in "st" else array)
    flags = ["score", "--attacks", "global_threshold", "--stream", how]
    for flag, name in (("signals", "s"), ("member", "m"), ("target", "t"), ("pairs", "q")):
        flags += [f"--{flag}", str(tmp_path / f"{name}.npy")]
    app.main([*flags, "--out", str(tmp_path / "o")])
    lines = json.loads((tmp_path / "o/summary.json").read_text())["warnings"]
    assert [line[:27] for line in lines] == [
        "The signals look like losse", "The target's signals fall w", "The target's signals are on",
        "--pairs: models 0 and 2 hav",
    ]  # fmt: skip


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
