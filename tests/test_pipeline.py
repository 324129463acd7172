"""The whole pipeline, as users run it: from the command line, killed and resumed, topped up."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flax import linen

import jaxmia
from jaxmia import augment, data, design, metrics, recipes
from jaxmia import experiment as membership
from jaxmia.command import app
from jaxmia.models import linen_module, mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress

ROOT = Path(__file__).parents[1]
QUIET = Progress(quiet=True)


def experiment(**changes):
    fields = {
        "name": "small",
        "data": data.first(data.digits(), 80, 40),
        "recipe": recipes.sgd(mlp(16), epochs=4, batch_size=16),
        "models": 8,
    } | changes
    return jaxmia.Experiment(**fields)


class Headless(linen.Module):
    """A network whose logits come out of no dense layer."""

    @linen.compact
    def __call__(self, x, train):
        z = linen.Dense(10)(x)
        return z - z.mean(-1, keepdims=True)


def headless(data):
    return Headless()


def run(path, **changes):
    block = changes.pop("block", 4)
    options = Options(workdir=path, width=1, block=block, progress=QUIET)
    return jaxmia.run(experiment(**changes), options)


def same(a, b, models=8):
    for name in ("phi", "margin", "population", "entropy"):
        x, y = (np.asarray(getattr(r.signals, name))[:models] for r in (a, b))
        np.testing.assert_array_equal(x, y)


def test_a_worker_draws_its_own_models(tmp_path, monkeypatch):
    monkeypatch.setattr(membership, "AT_ONCE", 0)
    rows, some = [], design.some
    monkeypatch.setattr(design, "some", lambda *a: rows.append(list(a[-1])) or some(*a))
    whole = run(tmp_path / "whole", block=4)
    assert rows[:2] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    rows.clear()
    options = Options(
        workdir=tmp_path / "part", width=1, block=4, progress=QUIET, shard_index=1, shard_count=2
    )
    jaxmia.run(experiment(), options)
    assert rows == [[4, 5, 6, 7]]
    np.testing.assert_array_equal(whole.member, design.complementary_halves(0, 8, 80))


def test_what_must_be_drawn_whole_and_does_not_fit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(membership.machine, "free_memory", lambda: 8 * 80 * 17 - 1)
    with pytest.raises(ValueError, match=r"balanced_columns\(0.5\) cannot draw one model without"):
        run(tmp_path / "run", design=design.balanced_columns(0.5))
    assert not (tmp_path / "run").exists()
    assert membership.Membership(experiment(), experiment().data()).shape == (8, 80)


def test_leaves_a_run_folder_and_a_rerun_does_nothing(tmp_path):
    outcome = run(tmp_path / "a")
    summary = outcome.summary
    assert (summary["models"], summary["examples"], summary["queries"]) == (8, 80, 1)
    assert set(summary["attacks"]) == set(outcome.scores)
    assert outcome.scores["lira_online"].shape == outcome.member.shape == (8, 80)
    names = {p.name for p in (tmp_path / "a").iterdir()}
    assert names == {
        "experiment.json", "blocks", "signals.zarr", "scores.npz", "summary.json", "report",
        "log.jsonl",
    }  # fmt: skip
    before = (tmp_path / "a" / "summary.json").stat().st_mtime_ns
    again = run(tmp_path / "a")
    assert (tmp_path / "a" / "summary.json").stat().st_mtime_ns == before
    same(outcome, jaxmia.Run.open(again.path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attacks": ("label_only",)}, r"label_only needs robustness .*, as --copies"),
        (
            {"attacks": ("lira_online", "quantile_regression"),
             "data": data.first(data.digits(), 80, 1)},
            "quantile_regression needs test examples, digits has none",
        ),
        (
            {"attacks": ("activations",), "recipe": recipes.sgd(linen_module(headless), epochs=1)},
            "does not end in a dense layer",
        ),
    ],
)  # fmt: skip
def test_what_no_attack_could_use_is_refused_before_anything_is_trained(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        run(tmp_path / "a", **changes)
    assert not (tmp_path / "a").exists()
    run(tmp_path / "a")  # and the folder is free for another try


def test_more_models_keep_the_first_and_blocks_do_not_matter(tmp_path):
    whole = run(tmp_path / "whole", models=12, block=12)
    run(tmp_path / "grown", models=6)
    grown = run(tmp_path / "grown", models=12)
    assert grown.models == 12 and grown.summary["models"] == 12
    same(whole, grown, 12)


def test_workers_share_the_blocks(tmp_path):
    whole = run(tmp_path / "whole", models=12)
    for index in (1, 0):
        options = Options(
            workdir=tmp_path / "shared", width=1, block=4, progress=QUIET, shard_index=index,
            shard_count=2,
        )  # fmt: skip
        last = jaxmia.run(experiment(models=12), options)
        assert (last.path / "summary.json").exists() == (index == 0)
    same(whole, last, 12)


def test_another_experiment_is_refused_and_nothing_changes(tmp_path):
    run(tmp_path / "a")
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"seed is 0 there, 1 here"):
        run(tmp_path / "a", seed=1)
    with pytest.raises(ValueError, match=r"recipe\.epochs is 4 there, 5 here"):
        run(tmp_path / "a", recipe=recipes.sgd(mlp(16), epochs=5, batch_size=16))
    with pytest.raises(ValueError, match="pool is"):
        run(tmp_path / "a", data=data.first(data.digits(), 80, 39))
    assert files == {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*") if p.is_file()}


def test_a_design_for_so_many_models_is_not_topped_up(tmp_path):
    run(tmp_path / "a", design=design.balanced_columns(0.5))
    with pytest.raises(ValueError, match="models=12: .* has 8, and design=balanced_columns"):
        run(tmp_path / "a", design=design.balanced_columns(0.5), models=12)


@pytest.mark.parametrize("name", ["../../x", "", "a" * 10_000, "[/bad]", ".", "</script>"])
def test_names_that_are_no_folder_are_refused(name):
    with pytest.raises(ValueError, match="since it names a folder"):
        experiment(name=name)


def test_random_labels_are_memorised_and_the_attack_sees_it(tmp_path):
    source = data.random_labels(data.first(data.digits(), 100))
    recipe = recipes.sgd(mlp(64), epochs=60, batch_size=16, rate=0.1, weight_decay=0.0)
    outcome = run(tmp_path / "a", data=source, recipe=recipe, models=16, block=16)
    assert metrics.auc(outcome.scores["lira_online"], outcome.member) > 0.9


def test_people_are_trained_on_whole(tmp_path):
    file = tmp_path / "people.npz"
    source = data.digits()()
    person = np.repeat(np.arange(40), 3) + 100
    np.savez(file, x=source.x[:150], y=source.y[:150], person=np.append(person, [7] * 30))
    outcome = run(tmp_path / "run", data=data.arrays(str(file)))
    owner, member = outcome.person, outcome.member
    assert owner is not None and owner.shape == (120,)  # a fixed fifth was set aside
    for who in np.unique(owner):
        rows = member[:, owner == who]
        assert (rows == rows[:, :1]).all()
    persons = len(np.unique(owner))
    assert outcome.experiment["identity"]["people"] == persons == outcome.summary["people"]["count"]
    halves = np.stack([member[:, owner == who][:, 0] for who in np.unique(owner)], 1)
    np.testing.assert_array_equal(halves, design.complementary_halves(0, 8, persons))
    attack = outcome.summary["people"]["attacks"]["lira_online"]
    assert attack["members"] + attack["non_members"] <= 8 * persons
    stated = outcome.posterior(0.2)
    assert stated.shape == (8, 120) and np.nanmean(stated) < 0.5
    with pytest.raises(ValueError, match="those that have: lira_online"):
        outcome.posterior(attack="lira_offline")


def test_a_diverged_model_is_listed_and_left_out(tmp_path):
    recipe = recipes.sgd(mlp(16), epochs=4, batch_size=16, rate=1e30)
    outcome = run(tmp_path / "a", recipe=recipe)
    assert outcome.summary["diverged"] == list(range(8))
    assert outcome.summary["attacks"]["lira_online"]["auc"] is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--models", "0"], "models=0 must be 1 or more"),
        (["--models", "x"], "models"),
        (["--epochs", "-1"], "epochs=-1"),
        (["--width", "wide"], "--width: 'wide' must be a whole number"),
        (["--design", "poisson(2)"], "poisson: p=2 must be between 0 and 1"),
        (["--design", "os.system('x')"], "--design"),
        (["--views", "shifted_views(4, 3)"], "shifted_views: pixels=4"),
        (["--attacks", "magic"], "'magic' is not one of"),
        (["--dtype", "float16"], "recipe.dtype='float16' is not one of"),
        (["--defence", "mixup"], "--defence: 'mixup' must be written with its settings: mixup()"),
        (["--defence", "mixup()", "mixup()"], "mixes the examples of a batch, once"),
        (["--defence", "dp_sgd(epsilon=-1)"], "epsilon=-1 must be above 0"),
        (["--defence", "magic()"], "--defence: 'magic()' is not one of cutout, dp_sgd"),
        (["--outputs", "top_k(0)"], "top_k: k=0 must be 1 or more"),
        (["--data", "absent.npz"], "absent.npz: is no file"),
        (["--shard-index", "3", "--shard-count", "2"], "--shard-index: 3 must be from 0 to 1"),
        (["--seed", "-3"], "seed=-3"),
        (["--bogus"], "bogus"),
        (["--target-member", "x.npy"], "--target-member needs --target-signals"),
        (["--target-logits", "absent.npy"], "--target-logits: absent.npy is no file"),
        (["--attacks", "label_only"], "label_only needs robustness"),
    ],
)
def test_bad_flags_are_one_clear_line(flags, words, tmp_path, capsys, as_users_run):
    with pytest.raises(SystemExit) as end:
        jaxmia.cli(experiment(), [*flags, "--workdir", str(tmp_path / "run")])
    out, err = capsys.readouterr()
    assert end.value.code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and words in err, err
    assert not (tmp_path / "run").exists()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path, capsys):
    from jaxmia.storage.store import Store

    run(tmp_path / "a", models=4)
    with Store(tmp_path / "a").lock(1), pytest.raises(SystemExit) as end:
        jaxmia.cli(experiment(), ["--workdir", str(tmp_path / "a"), "--width", "1", "--block", "4"])
    assert end.value.code == 2
    assert re.search(rf"being trained by process {os.getpid()}", capsys.readouterr().err)


def test_export_gives_the_same_inputs_and_report_draws_again(tmp_path, capsys):
    from jaxmia import augment
    from jaxmia.command import app

    source = data.first(data.digits(image=True), 80, 40)
    outcome = run(tmp_path / "a", data=source, views=augment.shifted_views(1, 1))
    assert np.asarray(outcome.signals.phi).shape == (8, 80, 18)
    app.main(["export", str(tmp_path / "a"), "--out", str(tmp_path / "out")])
    arrays = {p.stem: np.load(p) for p in (tmp_path / "out").glob("*.npy")}
    pool = source()
    np.testing.assert_array_equal(arrays["x"], pool.x)
    np.testing.assert_array_equal(arrays["member"], outcome.member)
    assert arrays["views"].shape == (80, 18, 8, 8, 1)
    np.testing.assert_array_equal(arrays["views"][:, 0], pool.x)
    (tmp_path / "a/report/roc.svg").unlink()
    app.main(["report", str(tmp_path / "a")])
    assert (tmp_path / "a/report/roc.svg").exists()


@pytest.mark.parametrize(
    "source",
    [
        data.people(30, 3, features=8, test=20),
        pytest.param(
            data.mislabelled(data.first(data.digits(), 80, 40), (3, 5)), marks=pytest.mark.soak
        ),
    ],
)
def test_export_and_report_know_every_source(source, tmp_path, capsys):
    outcome = run(tmp_path / "a", data=source)
    app.main(["export", str(outcome.path), "--out", str(tmp_path / "out")])
    np.testing.assert_array_equal(np.load(tmp_path / "out/y.npy"), source().y)
    app.main(["report", str(outcome.path), "--show-examples"])
    assert "shows no examples" not in capsys.readouterr().err


def test_an_export_from_another_folder_finds_the_data(tmp_path, monkeypatch):
    pool = data.first(data.digits(), 80, 40)()
    np.savez(tmp_path / "pool.npz", x=pool.x, y=pool.y, x_test=pool.x_test, y_test=pool.y_test)
    monkeypatch.chdir(tmp_path)
    flags = ["--data", "pool.npz", "--workdir", "run", "--models", "2", "--epochs", "1", "--width"]
    jaxmia.cli(experiment(), [*flags, "1", "--quiet"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    app.main(["export", str(tmp_path / "run"), "--out", "out"])
    np.testing.assert_array_equal(np.load("out/y.npy"), pool.y)
    assert f"--data {tmp_path / 'pool.npz'}" in jaxmia.Run.open(tmp_path / "run").summary["command"]


LADDER = ("label_only", "quantile_regression", "shadow_classifier", "rmia_online", "lira_online")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ladder") / "run"
    copies = augment.noised(0.0, 0.5, copies=4)
    return run(path, attacks=LADDER, copies=copies, recipe=recipes.sgd(mlp(64), epochs=30))


def test_attacks_that_need_more_than_phi(ladder):
    assert set(ladder.scores) == set(LADDER)
    for name, score in ladder.scores.items():
        assert np.isfinite(score).all(), name
        assert 0.45 < metrics.auc(score, ladder.member), name
    share = ladder.signals.robustness
    assert share.shape == (8, 80) and set(np.unique(share * 8 % 1)) == {0}
    right = np.asarray(ladder.signals.margin)[..., 0] > 0
    assert (share[right] >= 0.5).all() and (share[~right] <= 0.5).all()  # the half without noise


def test_a_target_of_ones_own_is_attacked_by_a_runs_models(ladder, tmp_path, capsys, as_users_run):
    target, member = tmp_path / "target.npy", tmp_path / "member.npy"
    np.save(target, ladder.signals.logits[0])
    np.save(member, ladder.member[0])
    args = [
        "score", "--run", str(ladder.path), "--target-logits", str(target), "--target-member",
        str(member), "--out", str(tmp_path / "out"), "--json", "--attacks", "lira_online",
        "shadow_classifier", "correctness", "rmia_offline",
    ]  # fmt: skip
    app.main(args)
    summary = json.loads(capsys.readouterr().out)
    assert (summary["models"], summary["references"]) == (1, 8) and len(summary["attacks"]) == 4
    with pytest.raises(SystemExit) as end:
        app.main([*args, "--member", str(member)])
    assert (
        end.value.code == 2 and "--run and --member do not go together" in capsys.readouterr().err
    )


@pytest.mark.soak
def test_a_target_may_be_given_to_the_experiment(tmp_path):
    folder = tmp_path / "run"
    call = [sys.executable, "-m", "experiments.digits", "--models", "4", "--epochs", "2",
            "--width", "1", "--workdir", str(folder)]  # fmt: skip
    subprocess.run([*call, "--quiet"], cwd=ROOT, check=True, capture_output=True)
    np.save(tmp_path / "t.npy", np.asarray(jaxmia.Run.open(folder).signals.phi)[0, :, 0])
    process = subprocess.run(
        [*call, "--target-signals", str(tmp_path / "t.npy")],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "scores only" in process.stdout
    with np.load(folder / "target" / "scores.npz") as archive:
        assert archive["lira_online"].shape == (1, 1438)
