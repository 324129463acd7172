"""A run attacked from disk is the run attacked in memory: by its experiment, and by its folder."""

import errno
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxmia
from jaxmia import data, machine, recipes
from jaxmia.command import app, inputs
from jaxmia.evaluation import evidence, streamed_run, streamed_scores, streamed_signals
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.storage import arrays
from jaxmia.storage.files import UnwritableError
from jaxmia.storage.store import Store
from jaxmia.training.progress import Progress

M, N = 8, 80
NAMES = ("lira_online", "lira_offline", "base", "global_threshold", "correctness")
SAME = (
    "train_accuracy", "test_accuracy", "generalization_gap", "diverged", "experiment", "attacked",
    "adversary", "models", "examples", "queries",
)  # fmt: skip


def dimmed(x):
    return jnp.stack([x, 0.9 * x])


def experiment(**changes):
    fields = {
        "name": "small",
        "data": data.first(data.digits(), N, 40),
        "recipe": recipes.sgd(mlp(16), epochs=4, batch_size=16),
        "models": M,
        "views": dimmed,
        "attacks": NAMES,
    } | changes
    return jaxmia.Experiment(**fields)


def run(path, stream="auto", say=None, **changes):
    progress = Progress(quiet=True)
    if say is not None:
        progress.say = say.append
    options = Options(path, width=1, block=3, progress=progress, stream=stream)
    return jaxmia.run(experiment(**changes), options)


@pytest.fixture
def in_parts(monkeypatch):
    """Some examples, some models at a time."""
    monkeypatch.setattr(arrays, "PANEL_BYTES", 3 * 16 * 9)
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 3 * 16 * 7)
    monkeypatch.setattr(streamed_signals, "PANEL_BYTES", 2000)
    for module in (streamed_scores, streamed_run):
        monkeypatch.setattr(module, "ROW_BYTES", 5 * N)


def like(summary, want):
    for field in SAME:
        assert summary.get(field) == want.get(field), field
    for name in want["attacks"]:
        a, b = summary["attacks"][name], want["attacks"][name]
        assert abs(a["auc"] - b["auc"]) <= a["rounding"] + 1e-6, name
        assert a["leak"]["relation"] == b["leak"]["relation"], name
        assert a["states"]["auc"].split(",")[1:] == b["states"]["auc"].split(",")[1:], name


def same_scores(scores, want):
    assert set(scores) == set(want)
    for name in want:
        np.testing.assert_allclose(scores[name], want[name], rtol=1e-5, atol=1e-6, err_msg=name)


def temporary(folder):
    return [p.name for p in Path(folder).rglob(".*") if p.name != ".zattrs"]


def test_a_run_from_disk_as_in_memory(tmp_path, in_parts):
    of, said = run(tmp_path / "run", "never"), []
    want, scores = of.summary, of.scores
    charts = {p.name for p in (of.path / "report").glob("*.svg")}
    of = run(tmp_path / "run", "always", said)
    like(of.summary, want)
    same_scores(of.scores, scores)
    assert "streamed" in of.summary and "streamed" not in want and not temporary(of.path)
    there = {p.name for p in (of.path / "report").glob("*.svg")}
    of_phi = {"phi.svg", "memory.svg", "gaussians.svg", "reliability.svg", "curve.svg"}
    assert charts - there <= of_phi and there >= {"training.svg", "exposure.svg"}
    rows = (of.path / "report/examples.csv").read_text().splitlines()
    y = np.asarray(of.signals.y)
    assert [int(row.split(",")[1]) for row in rows[1:]] == y.tolist()
    said.clear()
    run(tmp_path / "run", "auto", said)
    assert said == [f"all {M} models are trained and attacked: nothing to do"]
    assert "streamed" not in run(tmp_path / "run", "never").summary


def test_it_is_drawn_again_and_compared(tmp_path, capsys, in_parts):
    for name, stream in (("a", "always"), ("b", "never")):
        run(tmp_path / name, stream)
    page = tmp_path / "a/report/index.html"
    before = page.read_text()
    app.main(["report", str(tmp_path / "a")])
    assert page.read_text() == before
    capsys.readouterr()
    app.main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--json",
              "--out", str(tmp_path / "both")])  # fmt: skip
    a, b = json.loads(capsys.readouterr().out)["runs"].values()
    assert a["attack"] == b["attack"]


@pytest.mark.parametrize("target", [False, True])
def test_a_run_is_scored_from_disk(tmp_path, capsys, in_parts, target):
    of = run(tmp_path / "run")
    names = NAMES[: -1 if target else None]  # of a target phi alone is given
    flags = ["score", "--run", str(of.path), "--json", "--attacks", *names, "--out"]
    if target:
        np.save(tmp_path / "t.npy", np.asarray(of.signals.phi)[0])
        np.save(tmp_path / "tm.npy", of.member[0])
        flags[1:1] = ["--target", str(tmp_path / "t.npy"),
                      "--target-member", str(tmp_path / "tm.npy")]  # fmt: skip
    summaries, scores = [], []
    for stream in ("never", "always"):
        app.main([*flags, str(tmp_path / stream), "--stream", stream])
        summaries.append(json.loads(capsys.readouterr().out))
        with np.load(tmp_path / stream / "scores.npz") as file:
            scores.append({k: file[k] for k in file.files if k != "member"})
    want, summary = summaries
    like(summary, want)
    same_scores(scores[1], scores[0])
    assert summary.get("warnings") == want.get("warnings")
    assert not temporary(tmp_path / "always")
    assert "label" in (tmp_path / "always/report/examples.csv").read_text()


def test_models_that_learned_nothing_are_doubted_from_disk_too(tmp_path, in_parts):
    recipe = recipes.sgd(mlp(16), epochs=1, batch_size=16, rate=1e-9)
    never = run(tmp_path / "run", "never", recipe=recipe).summary["warnings"]
    assert any("no evidence" in line for line in never)
    assert run(tmp_path / "run", "always", recipe=recipe).summary["warnings"] == never


def test_a_model_that_answers_one_thing_is_no_half_written_file(tmp_path, in_parts, capsys):
    of = run(tmp_path / "run", "never")
    store = Store(of.path)
    signals = {"phi": np.zeros((1, N, 2), np.float32), "margin": np.zeros((1, N), np.float32)}
    digests = store.write_models([0], M, signals)
    record, former = store._read_record(0)
    for name, rows in digests.items():
        record["digests"][name].update(rows)
    store._write_record(0, record, former)
    lines = []
    for stream in ("never", "always"):
        app.main(["score", "--run", str(of.path), "--out", str(tmp_path / stream), "--json",
                  "--attacks", *NAMES, "--stream", stream])  # fmt: skip
        summary = json.loads(capsys.readouterr().out)
        lines.append((summary.get("warnings"), summary["diverged"]))
        assert np.isfinite(summary["attacks"]["lira_online"]["auc"])
    assert lines[0] == lines[1]
    like(run(tmp_path / "run", "always").summary, run(tmp_path / "run", "never").summary)


def test_answers_of_some_models_add_up():
    rng = np.random.default_rng(0)
    for _ in range(50):
        models, examples, classes = (int(rng.integers(2, most)) for most in (9, 60, 5))
        y, member = rng.integers(classes, size=examples), rng.random((models, examples)) < 0.5
        margin = rng.normal(size=(models, examples)) + rng.normal()
        margin[rng.random(models) < 0.2] = np.nan
        margin[rng.random(models) < 0.2] = 1.0
        at = int(rng.integers(1, models))
        parts = [evidence.answers(margin[s], member[s], y) for s in (slice(at), slice(at, None))]
        whole = evidence.answers(margin, member, y)
        for a, b in zip(parts[0] + parts[1], whole, strict=True):
            np.testing.assert_array_equal(a, b)
        assert evidence.of_answers(whole, y) == evidence.of_models(margin, member, y)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"attacks": ("lira_online", "rmia_online")}, "attacks: rmia_online must hold all signals"),
        ({"repeat_sets": 4}, "repeat_sets=4 must hold all signals"),
        ({"shadow_data": data.first(data.digits(), 300)}, "shadow_data must hold all signals"),
    ],
)
def test_what_needs_memory_is_refused_before_anything_is_trained(tmp_path, changes, words):
    with pytest.raises(ValueError, match=f"--stream always: {words}"):
        run(tmp_path / "run", "always", **changes)
    assert not Store(tmp_path / "run").records()


def test_it_goes_to_disk_by_itself_where_memory_is_too_small(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 1 << 20)
    with pytest.raises(ValueError, match=r"scoring takes up to \d.* 0.00 GiB are free, .*rmia_onl"):
        run(tmp_path / "run", attacks=("lira_online", "rmia_online"))
    assert "streamed" in run(tmp_path / "run").summary
    with pytest.raises(SystemExit) as ended:
        app.main(["score", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "o"),
                  "--stream", "always", "--curve"])  # fmt: skip
    assert ended.value.code == 2


def test_a_large_run_is_scored_from_disk_where_all_attacks_can(tmp_path, capsys, monkeypatch):
    of = run(tmp_path / "run")
    monkeypatch.setattr(inputs, "STREAM_BYTES", 1)
    for names, from_disk in ((NAMES, True), (("lira_online", "rmia_online"), False)):
        app.main(["score", "--run", str(of.path), "--out", str(tmp_path / "o"), "--json",
                  "--attacks", *names])  # fmt: skip
        assert ("streamed" in json.loads(capsys.readouterr().out)) == from_disk


def test_rows_that_are_not_what_was_written_are_refused(tmp_path):
    of = run(tmp_path / "run")
    array = Store(of.path).arrays.open("phi")
    array[5, 7].write(np.float32(0.123)).result()
    words = r"phi of \[5\] is not what was written; run the experiment again"
    with (
        pytest.raises(ValueError, match=words),
        streamed_run.of_run(Store(of.path), M, tmp_path / "out"),
    ):
        pass
    assert not temporary(tmp_path / "out")


def test_a_disk_that_is_full_costs_nothing(tmp_path, monkeypatch):
    of = run(tmp_path / "run")
    before = (of.path / "summary.json").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrays, "write_at", full)
    with pytest.raises(UnwritableError, match="cannot write .*run: No space left on device"):
        run(tmp_path / "run", "always")
    assert (of.path / "summary.json").read_bytes() == before and not temporary(of.path)
    monkeypatch.undo()
    assert "streamed" in run(tmp_path / "run", "always").summary
