"""Attacks from disk are the attacks in memory, in bounded memory."""

import json

import numpy as np
import pytest

from experiments.benchmarks import streaming as experiments_streaming
from jaxmia import design, metrics
from jaxmia.attacks import ATTACKS
from jaxmia.command import app, inputs
from jaxmia.evaluation import counted, streamed_scores, streamed_signals
from jaxmia.storage.sources import Source

M, N, Q = 12, 500, 2
RNG = np.random.default_rng(1)
MEMBER = {
    "halves": design.complementary_halves(0, M, N),
    "balanced": design.balanced_columns(0.5)(0, M, N),
    "poisson": design.poisson(0.5)(0, M, N),
}
NAMES = (
    "lira_online", "lira_offline", "lira_online_global_variance", "lira_offline_student_t",
    "lira_online_per_example_variance", "base", "bavaria", "attack_r", "instance_threshold",
    "global_threshold", "lira_offline_imputed",
)  # fmt: skip


def phi(member):
    values = RNG.normal(size=(M, N, Q)) + 1.5 * member[..., None] + RNG.normal(size=(1, N, 1))
    values = values.astype(np.float32)
    values[5] = np.nan  # diverged
    values[2, 7, 0] = np.inf
    return values


def scores_of(out):
    with np.load(out / "scores.npz") as scores:
        return {k: scores[k] for k in scores.files}


def run(folder, capsys, *flags, out="out"):
    app.main(["score", *flags, "--out", str(folder / out), "--json"])
    return json.loads(capsys.readouterr().out), scores_of(folder / out)


@pytest.fixture(
    params=[
        ("halves", "npy"),
        pytest.param(("balanced", "zarr"), marks=pytest.mark.soak),
        pytest.param(("poisson", "fortran"), marks=pytest.mark.soak),
    ]
)
def files(request, tmp_path):
    kind, format = request.param
    member = MEMBER[kind]
    signals = phi(member)
    if format == "zarr":
        import zarr

        zarr.create_array(str(tmp_path / "phi"), data=signals, chunks=(5, 70, 1))
        np.save(tmp_path / "member.npy", member.astype(np.uint8))
        return tmp_path, tmp_path / "phi", tmp_path / "member.npy"
    signals = np.asfortranarray(signals) if format == "fortran" else signals
    np.save(tmp_path / "phi.npy", signals)
    np.save(tmp_path / "member.npy", member)
    return tmp_path, tmp_path / "phi.npy", tmp_path / "member.npy"


def same_intervals(of, want):
    """Counted scores differ by their rounding, and a draw's threshold is looked for in cells."""
    assert of["kind"] == want["kind"] and of.get("tpr_at_own_fpr") == want.get("tpr_at_own_fpr")
    for figure, tolerance in (("auc", 1e-3), ("balanced_accuracy", 1e-2)):
        np.testing.assert_allclose(of[figure], want[figure], atol=tolerance)
    for level, ends in want["by_fpr"].items():
        if ends is None:
            assert of["by_fpr"][level] is None
        else:
            atol = 0.06 * (ends[1] - ends[0]) + 2e-3
            np.testing.assert_allclose(of["by_fpr"][level], ends, atol=atol, err_msg=level)


def test_from_disk_as_in_memory(files, capsys, monkeypatch):
    folder, signals, member = files
    flags = ["--signals", str(signals), "--member", str(member), "--attacks", *NAMES]
    want, scores = run(folder, capsys, *flags, "--stream", "never")
    monkeypatch.setattr(streamed_signals, "PANEL_BYTES", 5000)  # some examples each
    monkeypatch.setattr(streamed_scores, "ROW_BYTES", 5 * N)
    summary, streamed = run(folder, capsys, *flags, "--stream", "always", out="streamed")
    assert summary["diverged"] == want["diverged"] == [5]
    assert summary["not_finite"] == want["not_finite"]
    assert (summary["models"], summary["examples"], summary["queries"]) == (M, N, Q)
    assert summary["adversary"] == want["adversary"] and summary["attacked"] == want["attacked"]
    np.testing.assert_array_equal(streamed["member"], scores["member"])
    for name in NAMES:
        assert streamed[name].dtype == np.float32 and streamed[name].shape == (M, N)
        np.testing.assert_allclose(streamed[name], scores[name], rtol=1e-5, atol=1e-6, err_msg=name)
        a, b = summary["attacks"][name], want["attacks"][name]
        for field in ("members", "non_members", "not_scorable", "resolution"):
            assert a[field] == b[field], (name, field)
        assert abs(a["auc"] - b["auc"]) <= a["rounding"] + 1e-6 < 1e-3, name
        assert a["tpr_at_own_fpr"] == b["tpr_at_own_fpr"], name  # None of those without p-values
        assert a.get("p_values") == b.get("p_values"), name
        same_intervals(a["intervals"], b["intervals"])
        for field in ("attacker", "prior", "notes"):
            assert a[field] == b[field], (name, field)
        assert a["advantage"] == pytest.approx(b["advantage"], abs=1e-3)
        for level, of in b["concentration"].items():
            assert a["concentration"][level]["examples"] == pytest.approx(of["examples"], abs=3)
        assert a["states"].keys() == b["states"].keys()
        exact = metrics.figures(scores[name], scores["member"], [0.01])
        assert abs(a["tpr_at_fpr"]["0.01"] - exact.tpr_at_fpr[0]) < 0.01
        for t, f in (("auc", 1e-5), ("balanced_accuracy", 1e-5)):
            np.testing.assert_allclose(a["targets"][t], b["targets"][t], atol=f, err_msg=name)
    assert summary["attacks"]["lira_offline"]["p_values"]["fpr"]["0.01"] > 0
    assert (folder / "streamed/report/roc.svg").exists()
    assert "<strong>nobody</strong>" in (folder / "streamed/report/index.html").read_text()
    assert not [p for p in (folder / "streamed").iterdir() if p.name.startswith(".")]


def test_given_targets_from_disk(tmp_path, capsys, monkeypatch):
    member = MEMBER["halves"]
    signals = phi(member)
    for name, array in (("phi", signals[2:]), ("member", member[2:]), ("t", signals[0]),
                        ("tm", member[0])):  # fmt: skip
        np.save(tmp_path / f"{name}.npy", array)
    flags = ["--signals", str(tmp_path / "phi.npy"), "--member", str(tmp_path / "member.npy"),
             "--target", str(tmp_path / "t.npy"), "--attacks", *NAMES[:3]]  # fmt: skip
    _, scores = run(tmp_path, capsys, *flags, "--stream", "never")
    monkeypatch.setattr(streamed_signals, "PANEL_BYTES", 5000)
    summary, streamed = run(tmp_path, capsys, *flags, "--stream", "always", out="s")
    assert summary["attacks"] == {} and set(streamed) == set(scores)
    for name, score in scores.items():
        np.testing.assert_allclose(streamed[name], score, rtol=1e-5)
    truth = ["--target-member", str(tmp_path / "tm.npy")]
    summary, _ = run(tmp_path, capsys, *flags, *truth, "--stream", "always", out="s")
    want, _ = run(tmp_path, capsys, *flags, *truth, "--stream", "never")
    for name in NAMES[:3]:
        a, b = summary["attacks"][name]["auc"], want["attacks"][name]["auc"]
        assert abs(a - b) <= summary["attacks"][name]["rounding"] + 1e-6
        own = [s["attacks"][name]["tpr_at_own_fpr"] for s in (summary, want)]
        assert own[0] == own[1], name


def test_large_signals_stay_on_disk_by_themselves(tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "phi.npy", phi(MEMBER["halves"]))
    np.save(tmp_path / "member.npy", MEMBER["halves"])
    flags = ["--signals", str(tmp_path / "phi.npy"), "--member", str(tmp_path / "member.npy")]
    summary, _ = run(tmp_path, capsys, *flags)
    assert "streamed" not in summary
    monkeypatch.setattr(inputs, "STREAM_BYTES", 1000)
    summary, _ = run(tmp_path, capsys, *flags)
    assert "streamed" in summary


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--attacks", "rmia_online"], "rmia_online must hold all signals in memory"),
        (["--attacks", "nothing"], "'nothing' is not one of"),
        (["--curve"], "--stream always: does not go with --curve"),
        (["--target-member", "x.npy"], "--target-member needs --target or --target-logits"),
    ],
)
def test_what_cannot_be_streamed_is_one_line(flags, words, tmp_path, capsys, as_users_run):
    np.save(tmp_path / "phi.npy", phi(MEMBER["halves"]))
    np.save(tmp_path / "member.npy", MEMBER["halves"])
    with pytest.raises(SystemExit) as end:
        run(tmp_path, capsys, "--signals", str(tmp_path / "phi.npy"), "--member",
            str(tmp_path / "member.npy"), "--stream", "always", *flags)  # fmt: skip
    err = capsys.readouterr().err
    assert end.value.code == 2 and words in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_order_and_thresholds_of_rounded_scores():
    score = np.array([-np.inf, -2.5, -1e-30, -0.0, 0.0, 1e-30, 1.0, 1.0001, 3e9, 4e9], "f4")
    key = counted.ordered(score)
    assert (np.diff(key.astype(np.int64)) >= 0).all() and key[3] == key[4] and key[2] < key[3]
    np.testing.assert_array_equal(counted.unordered(key), score)
    pooled = counted.nothing()
    member = np.arange(len(score)) % 2 == 1
    np.add.at(pooled, (key >> counted.SHIFT).astype(np.int64) * 2 + member, 1)
    curve = counted.roc(pooled)
    assert curve is not None
    for threshold, true, false in zip(curve.threshold, curve.tp, curve.fp, strict=True):
        assert ((score >= threshold) & member).sum() == true
        assert ((score >= threshold) & ~member).sum() == false


def test_a_file_that_became_shorter_is_told(tmp_path):
    np.save(tmp_path / "phi.npy", np.zeros((4, 100), np.float32))
    source = Source("--signals", tmp_path / "phi.npy", "f", (2,))
    content = (tmp_path / "phi.npy").read_bytes()
    (tmp_path / "phi.npy").write_bytes(content[:-50])
    with pytest.raises(ValueError, match="became shorter"):
        source.columns(slice(0, 100))


def test_streaming_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["streaming", "--models", "8", "--examples", "2000"])
    experiments_streaming.main()
    row = json.loads(capsys.readouterr().out)
    assert 0.5 < row["attacks"]["lira_online"] < 1 and 0.05 < row["peak_resident_gib"] < 2


def test_several_targets_from_disk_are_each_as_alone(tmp_path, capsys):
    member = MEMBER["poisson"]
    signals = phi(member)
    for name, array in (("phi", signals[3:]), ("member", member[3:]), ("t", signals[:3])):
        np.save(tmp_path / f"{name}.npy", array)
    names = sorted(k for k, a in ATTACKS.items() if a.panels is not None and a.needs == ("phi",))
    flags = ["--signals", str(tmp_path / "phi.npy"), "--member", str(tmp_path / "member.npy"),
             "--target", str(tmp_path / "t.npy"), "--attacks", *names]  # fmt: skip
    _, want = run(tmp_path, capsys, *flags, "--stream", "never")
    _, streamed = run(tmp_path, capsys, *flags, "--stream", "always", out="s")
    assert set(streamed) == set(want) == set(names) >= {"lira_online_per_example_variance"}
    for name in names:
        assert streamed[name].shape == (3, N)
        np.testing.assert_allclose(streamed[name], want[name], rtol=1e-5, atol=1e-6, err_msg=name)
