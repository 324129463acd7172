"""The pages of results say what the rows say."""

import json
from pathlib import Path

import numpy as np
import pytest

import jaxmia
from experiments import paired, rows
from experiments.pages import __main__ as pages
from experiments.pages import defences, sets, words
from experiments.studies import defences as study
from experiments.studies.defences_cells import OUTPUTS, SETUPS
from experiments.studies.defences_figures import frontier
from jaxmia import Experiment, data, design, recipes
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress
from jaxmia.types import Signals

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_what_its_rows_make(page):
    text = page.read_text()
    assert pages.filled(text, pages.PARTS) == text, "python -m experiments.pages"


def test_every_part_stands_on_a_page():
    text = "".join(page.read_text() for page in pages.PAGES)
    assert {name for _, name, _, _ in pages.MARKED.findall(text)} == set(pages.PARTS)
    assert text.count("<!-- rows:") == text.count("<!-- end -->") == len(pages.MARKED.findall(text))


@pytest.mark.parametrize("name", pages.PICTURES)
def test_a_picture_is_what_its_rows_draw(name):
    assert (ROOT / "docs" / name).read_text() == pages.PICTURES[name](), "experiments.pages"


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def test_parts_are_filled_in_lines_and_between_them():
    parts = {"a": lambda: "1 %", "b": lambda: "| x |"}
    text = "So <!-- rows: a -->9 %<!-- end -->.\n<!-- rows: b -->\nold\n<!-- end -->\n"
    want = "So <!-- rows: a -->1 %<!-- end -->.\n<!-- rows: b -->\n\n| x |\n\n<!-- end -->\n"
    assert pages.filled(text, parts) == want == pages.filled(want, parts)
    with pytest.raises(ValueError, match="'c' is not one of a, b"):
        pages.filled("<!-- rows: c --><!-- end -->", parts)


def test_rows_name_no_place_of_the_machine_that_made_them():
    for file in rows.RESULTS.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            assert row["time"] and row["device"] and row["versions"], file.name
            assert "/" not in row.get("command", ""), (file.name, row["command"])


def test_shares_are_said_in_percent_and_points():
    assert words.span(0.036726, [0.02948, 0.045735]) == "3.67 % [2.95, 4.57]"
    assert words.points(-0.0037, [-0.0082, 0.001]) == "−0.37 [−0.82, +0.10]"
    assert words.count(92032) == "92 032" and words.number(135436.1) == "135 436"


def test_a_run_is_a_row_for_each_attack_on_records_and_on_people(tmp_path):
    small = Experiment(
        name="small",
        data=data.people(60, test=20),
        recipe=recipes.sgd(mlp(4), epochs=1, batch_size=16),
        models=4,
        attacks=("lira_online", "global_threshold"),
    )
    jaxmia.run(small, Options(tmp_path / "run", 1, progress=Progress(quiet=True)))
    rows.main(rows.Flags((tmp_path / "run",), tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "small.jsonl").open()]
    assert [(r["attack"], r["unit"]) for r in lines] == [
        (attack, unit) for unit in ("records", "people") for attack in small.attacks
    ]
    lira, plain, people, _ = lines
    assert set(plain["below"]) == {"0.01", "0.001", "1e-05"} and "below" not in lira
    assert (
        lira["intervals"]["drawn"] == "persons"
        and people["people"] == 60
        and people["non_members"] < 4 * 60
    )
    assert lira["models"] == 4 and lira["hardware"] and lira["time"] and lira["seed"] == 0
    assert sets.rate(lira, "0.01").endswith("]")


def half(tpr):
    return {"tpr": {"0.01": tpr, "0.001": tpr}, "tpr_interval": {"0.001": [0, 1]}, "auc": 0.5}


def cell(name, kind, accuracy, choice, report):
    """A cell's row: TPRs of each attacker on the half to pick on, and on the other."""
    attackers = {
        a: {"choice": half(c), "report": half(r)}
        for a, c, r in zip(defences.SHORT, choice, report, strict=True)
    }
    return {"cell": name, "examples": kind, "test_accuracy": accuracy, "adaptive": attackers}


def test_strength_and_attacker_are_picked_on_the_other_half():
    lines = [
        cell(name, kind, accuracy, choice, report)
        for kind in ("natural", "canaries")
        for name, accuracy, choice, report in (
            ("none", 0.98, (0.9, 0.8, 0.1), (0.5, 0.9, 0.1)),
            ("d s=1", 0.975, (0.3, 0.1, 0.2), (0.1, 0.9, 0.9)),
            (
                "d s=2",
                0.972,
                (0.4, 0.1, 0.2),
                (0.0, 0.0, 0.0),
            ),  # would be picked on its own figures
            ("d s=3", 0.9, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),  # costs too much
            ("dp_sgd epsilon=1", 0.9, (0.1, 0.0, 0.0), (0.1, 0.0, 0.0)),
            ("dp_sgd epsilon=2", 0.92, (0.2, 0.0, 0.0), (0.1, 0.0, 0.0)),
            (defences.BASELINE, 0.925, (0.9, 0.0, 0.0), (0.9, 0.0, 0.0)),
        )
    ]
    assert defences.picked(lines) == ["none", "d s=1", "dp_sgd epsilon=2"]
    canaries = defences.cells(lines, "canaries")
    assert defences.strongest(canaries["none"]) == "lira_online"
    assert defences.reported(canaries["none"])["tpr"]["0.001"] == 0.5
    assert defences.reported(canaries["d s=1"])["tpr"]["0.001"] == 0.1


def test_cells_done_in_several_commands_stand_side_by_side(tmp_path):
    flags, order = study.Flags(results=tmp_path), ["none", "d s=1", "d s=2"]
    for name, auc in (("d s=2", 0.1), ("none", 0.2), ("d s=2", 0.3), ("d s=1", 0.4)):
        study.keep([{"cell": name, "auc": auc}], flags, order)
    lines = [json.loads(line) for line in (tmp_path / "defences_digits.jsonl").open()]
    assert [(r["cell"], r["auc"]) for r in lines] == [("none", 0.2), ("d s=1", 0.4), ("d s=2", 0.3)]


@pytest.mark.soak
def test_the_page_of_defences_is_made_of_what_the_study_keeps(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    member = design.complementary_halves(0, 6, 40)
    lines = []
    for name in (*SETUPS["digits"]().cells, *OUTPUTS):
        for kind in ("natural", "canaries"):
            phi = (rng.normal(size=member.shape) + member)[..., None]
            facts = {"test_accuracy": rng.uniform(0.97, 0.99), "models_per_hour": 1.0}
            own = study.Answers(Signals(phi, np.zeros(40, int), margin=phi - 1), member, facts)
            lines.append(study.row(name, kind, own, own))
    rows.keep(tmp_path, "defences_digits", lines, {"seed": 0, "command": "x"} | rows.about())
    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    text = {name: part() for name, part in defences.PARTS.items()}
    assert text["every"].count("\n") == len(lines) // 2 + 1
    assert "without noise" in text["best"] and "HAMP" in text["claims"]
    frontier(lines, tmp_path / "frontier.svg")
    assert (tmp_path / "frontier.svg").stat().st_size > 10_000


def test_differences_on_the_same_draws_are_narrower_than_apart():
    rng = np.random.default_rng(0)
    member = rng.random((6, 400)) < 0.5
    signal = rng.normal(size=member.shape) + 2 * member * (rng.random(400) < 0.3)
    scores = {"best": signal, "near": signal + 0.1 * rng.normal(size=member.shape)}
    below = paired.below(scores, member, "best")["near"]["0.01"]
    _, best = paired.resampled(signal, member, paired.weights(400, 400), [0.01])
    low, high = below["interval"]
    assert low <= below["less"] <= high
    assert high - low < 0.8 * np.subtract(*np.quantile(best, [0.975, 0.025]))
    person = np.arange(400) // 4
    whole = paired.below(scores, member, "best", person)["near"]["0.01"]
    assert whole["less"] == below["less"] and whole["interval"] != below["interval"]
