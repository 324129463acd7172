"""A folder that is written a second time, or whose report was killed while it was drawn."""

import json

import numpy as np
import pytest

from jaxmia import design
from jaxmia.command import app
from jaxmia.report import write as writing
from jaxmia.report.inputs import ReportInputs
from jaxmia.report.previous import CHARTS, clear, losses
from jaxmia.storage.files import UnwritableError

M, N = 8, 40
MEMBER = design.complementary_halves(0, M, N)
PHI = (np.random.default_rng(0).normal(size=(M, N)) + 2 * MEMBER).astype(np.float32)


@pytest.fixture
def score(tmp_path, as_users_run):
    np.save(tmp_path / "phi.npy", PHI)
    np.save(tmp_path / "member.npy", MEMBER)
    np.save(tmp_path / "target.npy", PHI[0])

    def again(*words):
        files = ["--signals", tmp_path / "phi.npy", "--member", tmp_path / "member.npy"]
        app.main(["score", *map(str, files), "--out", str(tmp_path / "out"), *map(str, words)])
        return tmp_path / "out"

    return again


def test_a_second_result_leaves_nothing_of_the_first_but_a_users_own_files(score, tmp_path):
    report = score() / "report"
    assert (report / "memory.svg").exists() and (report / "index.html").exists()
    (report / "mine.svg").write_text("mine")
    score("--target", tmp_path / "target.npy")  # scores alone: nothing to draw
    assert [p.name for p in report.iterdir()] == ["mine.svg"]
    score()
    score("--stream", "always")
    charts = {
        f"{name}.{ending}"
        for name in ("roc", "exposure", "p_values")
        for ending in ("svg", "png", "csv")
    }
    tables = {"attacks.csv", "examples.csv", "index.html"}
    assert {p.name for p in report.iterdir()} == {"mine.svg", *charts, *tables}


def test_a_streamed_score_leaves_the_page_that_scores_and_summary_allow(score, capsys):
    report = score("--stream", "never") / "report"
    want, page = (report / "examples.csv").read_text(), (report / "index.html").read_text()
    table = json.loads((report.parent / "summary.json").read_text())["attacks"]
    report = score("--stream", "always") / "report"
    streamed = (report / "index.html").read_text()
    rows = [line.split(",")[2:4] for line in (report / "examples.csv").read_text().splitlines()]
    assert rows == [line.split(",")[2:4] for line in want.splitlines()]
    assert "left out: thresholds from shadows" in streamed and "left out: " not in page
    for text in (streamed, page):
        assert "Beneath each figure its 95 %" in text
    for attack in table:
        assert attack.replace("_", "_<wbr>") in streamed
    before = {p.name: p.read_bytes() for p in report.iterdir()}
    app.main(["report", str(report.parent)])
    assert {p.name: p.read_bytes() for p in report.iterdir()} == before
    assert "left out: thresholds from shadows" in capsys.readouterr().out


def test_every_file_of_a_report_is_known_to_be_cleared(score):
    report = score("--curve") / "report"
    clear(report)
    assert not list(report.iterdir())
    for name in ("curve", "training"):  # that this run has, and that a run folder has
        assert name in CHARTS


def test_numbers_are_there_where_drawing_fails(score, tmp_path, monkeypatch):
    def full(*args):
        raise UnwritableError("cannot write: No space left on device")

    monkeypatch.setattr(writing, "report", full)
    with pytest.raises(SystemExit):
        score()
    assert json.loads((tmp_path / "out/summary.json").read_text())["models"] == M
    assert (tmp_path / "out/scores.npz").exists()


def test_a_scored_folder_is_drawn_again_where_nothing_is_lost(score, capsys):
    out = score()
    before = (out / "report/index.html").read_bytes()
    with pytest.raises(SystemExit):
        app.main(["report", str(out)])
    line = capsys.readouterr().err.splitlines()[-1]
    assert "memory" in line and "jaxmia score" in line
    assert (out / "report/index.html").read_bytes() == before
    clear(out / "report")
    summary = (out / "summary.json").read_text()
    app.main(["report", str(out)])
    assert "without phi" in capsys.readouterr().err
    assert json.loads((out / "summary.json").read_text()) == json.loads(summary)
    assert (out / "report/index.html").exists() and (out / "report/roc.svg").exists()


@pytest.mark.parametrize(
    "page, less",
    [
        ('<ol class="gallery" id="gallery">', ["pictures of examples"]),
        ("<tr data-example=\"3\"><td>1</td><td>3</td><td>3 cat</td>", ["names of labels"]),
        ("<tr data-example=\"3\"><td>1</td><td>3</td><td>3</td>", []),
        ("; at 2 an hour that is 3.00", ["the price"]),
        ("", []),
    ],
)  # fmt: skip
def test_what_a_new_page_would_lose_is_seen(page, less, tmp_path):
    (tmp_path / "index.html").write_text(page)
    assert losses(tmp_path, ReportInputs()) == less
    all_of_it = ReportInputs(x=np.zeros((2, 3)), names=("dog", "cat"), price=2.0)
    assert losses(tmp_path, all_of_it) == []


def test_a_report_without_its_page_is_not_done(tmp_path):
    from test_pipeline import run

    from jaxmia import data

    outcome = run(tmp_path / "a", data=data.first(data.digits(), 80, 40))
    assert outcome.evaluated
    assert not run(tmp_path / "a", data=data.first(data.digits(), 80, 40)).evaluated
    (tmp_path / "a/report/index.html").unlink()
    assert run(tmp_path / "a", data=data.first(data.digits(), 80, 40)).evaluated


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, capsys, monkeypatch):
    from jaxmia.command import export, inputs, report

    def work(*args, **kwargs):
        raise AssertionError("has begun")

    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "out")
    for module, name in ((inputs, "array"), (report.compare, "runs"), (export, "export")):
        monkeypatch.setattr(module, name, work)
    for words in (
        ["score", "--signals", "s.npy", "--member", "m.npy", "--out", out],
        ["report", "a", "b", "--out", out],
        ["report", str(tmp_path / "file")],
    ):
        with pytest.raises(SystemExit) as end:
            app.main(words)
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert "cannot write" in said and "is no folder" in said and len(said.splitlines()) == 1


def test_a_run_folder_that_cannot_be_made_costs_no_data_and_no_training(tmp_path):
    from test_pipeline import experiment

    from jaxmia import pipeline
    from jaxmia.options import Options

    def data():
        raise AssertionError("has begun")

    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match="is no folder"):
        pipeline.run(experiment(data=data), Options(tmp_path / "file" / "run"))


def test_a_comparison_says_what_casts_doubt_on_its_runs(score, tmp_path, capsys):
    out = score()
    again = tmp_path / "again"
    again.mkdir()
    for name in ("scores.npz", "summary.json"):
        (again / name).write_bytes((out / name).read_bytes())
    summary = json.loads((again / "summary.json").read_text())
    (again / "summary.json").write_text(json.dumps(summary | {"warnings": ["The models <b>"]}))
    capsys.readouterr()
    app.main(["report", str(out), str(again), "--out", str(tmp_path / "both")])
    page = (tmp_path / "both/index.html").read_text()
    assert 0 < page.index("again: The models &lt;b&gt;") < page.index("<h1>")
    assert "WARNING: again: The models <b>" in capsys.readouterr().err
    summary = json.loads((tmp_path / "both/summary.json").read_text())
    assert summary["warnings"] == ["again: The models <b>"]


def test_quiet_hides_no_warning(capsys):
    from jaxmia.command.terminal import show

    show({"warnings": ["The models"], "attacks": {}}, False, True)
    printed = capsys.readouterr()
    assert printed.err == "WARNING: The models\n" and not printed.out
