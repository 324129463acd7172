"""Every experiment shrinks to a smoke run."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from row_pages import check_page

import jaxmia
from experiments.pages import people, private
from jaxmia import Experiment

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "images.npz"
    x, y = RNG.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8), RNG.integers(10, size=40)
    np.savez(file, x=x, y=y)
    return str(file)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("digits", ["--models", "4", "--epochs", "2"]),
        pytest.param("tabular", ["--models", "4", "--epochs", "2"], marks=pytest.mark.soak),
        pytest.param("ladder", ["--models", "4", "--epochs", "2"], marks=pytest.mark.soak),
        ("cifar10_small", ["--models", "2", "--epochs", "1"]),
        pytest.param(
            "cifar10_fast",
            ["--models", "2", "--epochs", "1", "--views", "mirror()"],
            marks=pytest.mark.soak,
        ),
        pytest.param(
            "cifar10_lira",
            ["--models", "2", "--epochs", "1", "--views", "itself"],
            marks=pytest.mark.soak,
        ),
    ],
)
def test_shrinks(name, flags, images, tmp_path):
    data = ["--data", images, "--batch-size", "8"] if name.startswith("cifar") else []
    process = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *flags, *data, "--width", "1", "--json",
         "--workdir", str(tmp_path / "run")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    assert json.loads(process.stdout)["models"] == int(flags[1])


def test_digits_leak_to_lira_ten_times_what_they_leak_to_a_threshold(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "experiments.digits", "--width", "1", "--json", "--quiet",
         "--workdir", str(tmp_path / "run")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    attacks = json.loads(process.stdout)["attacks"]
    lira, threshold = (
        attacks[k]["tpr_at_fpr"]["0.001"] for k in ("lira_online", "global_threshold")
    )
    assert lira >= 10 * threshold > 0 and lira > 0.02, (lira, threshold)
    posterior = attacks["lira_online"]["posterior"]
    assert posterior["calibration_error"] < 0.01
    surest = [b for b in zip(*posterior["reliability"].values(), strict=True) if 0.85 < b[0] < 0.95]
    (stated, true, _, _, count) = surest[0]  # what is stated as 0.9, on other models than fitted
    assert abs(stated - 0.9) < 0.01 and abs(true - 0.9) < 0.03 and count > 1500, surest


@pytest.mark.soak
def test_a_table_of_people_is_drawn_by_person(tmp_path):
    pytest.importorskip("statsmodels")
    flags = ["--models", "4", "--epochs", "1", "--width", "1", "--json", "--quiet"]
    process = subprocess.run(
        [sys.executable, "-m", "experiments.randhie", *flags, "--workdir", str(tmp_path / "run")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    assert json.loads(process.stdout)["people"]["count"] == 4730
    run = jaxmia.Run.open(tmp_path / "run")
    whole = np.stack([np.bincount(run.person, row) for row in run.member.astype(float)])
    assert ((whole == 0) | (whole == np.bincount(run.person))).all()


def test_years_of_people_are_as_they_ship():
    pytest.importorskip("statsmodels")
    from experiments import randhie

    years, rows = randhie.visits(), randhie.table()
    assert len(years.y) + len(years.y_test) == len(rows) == 20190
    assert np.isfinite(years.x).all() and years.x.shape[1] == 22
    assert (years.x[:, -6:].sum(1) == 1).all()  # everybody lives at one site
    for label, visits in enumerate((rows["mdvis"] == 0, (rows["mdvis"] > 0) & (rows["mdvis"] < 3),
                                    (rows["mdvis"] > 2) & (rows["mdvis"] < 6))):  # fmt: skip
        assert (years.y == label).sum() + (years.y_test == label).sum() == visits.sum()


@pytest.mark.parametrize(
    "name",
    ["digits", "ladder", "tabular", "randhie", "cifar10_fast", "cifar10_lira", "cifar10_small"],
)
def test_is_a_module_of_values(name):
    module = importlib.import_module(f"experiments.{name}")
    assert isinstance(module.experiment, Experiment) and module.experiment.name == name
    assert f"python -m experiments.{name}" in module.__doc__


@pytest.mark.soak
def test_speeds_are_measured(tmp_path):
    for name, flags in (
        ("throughput", ["--recipes", "mlp_digits", "--methods", "jaxmia", "jax_sequential"]),
        ("benchmarks.scoring_speed", []),
    ):
        process = subprocess.run(
            [sys.executable, "-m", f"experiments.{name}", "--quick", "--json", *flags],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr[-2000:]
        rows = [json.loads(line) for line in process.stdout.splitlines()]
        if name == "throughput":
            assert {r["method"] for r in rows} == {"jaxmia", "jax_sequential"}
            assert sum(r["auto"] for r in rows) == 1
            assert all(r["models_per_hour"] > 0 and r["roofline_share"] > 0 for r in rows)
        else:
            assert all(r["seconds"] > 0 and r["peak_bytes"] > 0 for r in rows)
    process = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.scaling", "--quick"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0 and len(process.stdout.splitlines()) == 3, process.stderr[-2000:]


@pytest.mark.soak
def test_defences_are_compared(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "experiments.studies.defences", "--models", "4", "--epochs", "2",
         "--only", "mixup alpha=1", "top_k k=3", "--workdir", str(tmp_path / "runs"), "--results",
         str(tmp_path), "--figures", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    rows = [json.loads(line) for line in (tmp_path / "defences_digits.jsonl").open()]
    assert len(rows) == 3 * 2 and {r["cell"] for r in rows} == {
        "none",
        "mixup alpha=1",
        "top_k k=3",
    }
    for row in rows:
        halves = [a[half] for a in (*row["adaptive"].values(), row["non_adaptive"]) for half in a]
        assert len(halves) == 4 * 2 and all(0 <= half["auc"] <= 1 for half in halves)
        assert (
            row["models_per_hour"] > 0
            and "python -m experiments.studies.defences" in row["command"]
        )
    assert (tmp_path / "defences_digits.svg").stat().st_size > 10_000


def shrunk(name, tmp_path, *flags):
    process = subprocess.run(
        [sys.executable, "-m", f"experiments.studies.{name}", *flags, "--quiet", "--json",
         "--out", str(tmp_path / name), "--results", str(tmp_path / "rows")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return process, tmp_path / name


@pytest.mark.soak
def test_people_shrink(tmp_path, monkeypatch):
    process, out = shrunk("people", tmp_path, "--models", "8", "--persons", "200", "--epochs", "6")
    assert process.returncode == 0, process.stderr[-2000:]
    summary = json.loads(process.stdout)
    assert summary["persons"] == 200 and summary["models"] == 8
    by = [summary[f"{unit} drawn, {what} attacked"]["auc"] for unit, what in
          (("persons", "records"), ("persons", "persons"))]  # fmt: skip
    assert by[1] > by[0] + 0.02 > 0.52  # a person is found more surely than a record
    assert (out / "people.svg").exists() and (out / "by_person" / "summary.json").exists()
    check_page(people, "people", tmp_path / "rows", monkeypatch)


@pytest.mark.soak
def test_offline_attacks_shrink(tmp_path):
    rows = tmp_path / "rows" / "offline_digits_8_epochs.jsonl"
    flags = ("--sets", "digits_8_epochs", "--models", "16", "--draws", "20")
    process, out = shrunk("offline", tmp_path, *flags)
    assert process.returncode == 0, process.stderr[-2000:]
    printed = json.loads(process.stdout)
    assert printed == [json.loads(line) for line in rows.open()]
    assert {r["references"] for r in printed} == {6, 14} and (out / "digits_8_epochs").is_dir()
    by = {r["attack"]: r for r in printed if r["references"] == 14}
    assert by["lira_offline_imputed"]["auc"] > by["lira_offline_student_t"]["auc"] > 0.5
    low, high = by["lira_offline_student_t"]["more"]["0.001"]
    assert -1 < low < high < 1
    process, _ = shrunk("offline", tmp_path, "--sets", "nothing")
    assert process.returncode == 2 and "--sets: 'nothing' is not one of digits," in process.stderr


@pytest.mark.soak
def test_the_audit_shrinks(tmp_path, monkeypatch):
    pytest.importorskip("jax_privacy")
    flags = ("--runs", "60", "--repetitions", "2", "--steps", "4", "--others", "20")
    process, out = shrunk("audit_dp", tmp_path, *flags, "--epsilons", "4", "--rates", "0.01")
    assert process.returncode == 0, process.stderr[-2000:]
    printed = json.loads(process.stdout)
    assert {r["part"] for r in printed} == {"bound", "networks", "sampled", "one_run", "mistakes"}
    assert all(r["promise"]["relation"] == "add/remove" for r in printed)
    assert all(3.9 < r["promise"]["epsilon"] <= 4.001 for r in printed)
    for row in printed:  # other networks and mistakes are audited once each
        audits = 1 if row["part"] in ("networks", "mistakes") else 2
        assert all(len(values) == audits for values in row["bounds"].values()), row["part"]
    assert printed == json.loads((out / "rows.json").read_text())
    check_page(private, "audit_dp", tmp_path / "rows", monkeypatch)
    process, _ = shrunk("audit_dp", tmp_path, "--parts", "nothing")
    assert process.returncode == 2 and "--parts: 'nothing' is not one of bound," in process.stderr
