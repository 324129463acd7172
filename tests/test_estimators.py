"""Estimators of scikit-learn's interface: audited as networks are, exact where truth is known."""

import json
import math
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import jaxmia
from jaxmia import metrics, signals
from jaxmia.attacks import attack_every_model
from jaxmia.command import inputs
from jaxmia.command.audit import in_memory
from jaxmia.command.inputs import Score
from jaxmia.estimators import Procedure, fitting, procedure, reading, structure
from jaxmia.estimators.fitting import Task
from jaxmia.estimators.tabled import tabled
from jaxmia.evaluation import evidence
from jaxmia.evaluation.groups import of_groups
from jaxmia.fits import fit
from jaxmia.options import Options
from jaxmia.storage.files import sealed, write_json
from jaxmia.training.progress import Progress
from jaxmia.work import opened

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
N = 60
X = RNG.normal(size=(N, 3))
LABELS = RNG.integers(5, size=N)  # noise: whoever knows one has seen it
NUMBERS = RNG.normal(size=N)


def audit(estimator, y, path, **settings):
    settings = {"models": 8, "jobs": 1, "quiet": True} | settings
    return jaxmia.audit(estimator, settings.pop("x", X), y, out=path, **settings)


def fitted(estimator, y, path, models=8, people=None, seed=0):
    """The signals and the membership of a run whose models are fitted, and not yet evaluated."""
    recipe = Procedure(estimator)
    table = tabled(X, y, people, {}, recipe.regression, "table")
    attacks = ("lira_online", "global_threshold")
    experiment = jaxmia.Experiment("small", in_memory(table), recipe, models, attacks=attacks,
                                   seed=seed)  # fmt: skip
    work = opened(experiment, Options(workdir=path, width=1, progress=Progress(quiet=True)))
    assert fit(work)
    assert not fit(work)
    run = jaxmia.Run.open(path)
    return run.signals, run.member


def rates(of, name):
    """AUC and TPR at 0.1 % of an attack on every model."""
    score = attack_every_model(*of, [name])[name]
    return metrics.auc(score, of[1]), metrics.tpr_at_fpr(score, of[1], 0.001)


def test_log_odds_are_exact_where_one_minus_p_is_not():
    """Against logarithms of fractions, some of sums below 1e-16."""
    p = np.array([[0.25, 0.5, 0.25], [1.0, 1e-20, 3e-20], [0.0, 1.0, 0.0], [1e-300, 1.0, 0.0]])
    exact = [math.log(1 / 3), -math.log(4e-20), -math.inf, math.log(1e-300)]
    np.testing.assert_allclose(signals.log_odds(p, np.zeros(4, int)), exact, rtol=1e-14)
    assert signals.log_odds(p, np.ones(4, int))[2] == math.inf
    one = signals.log_odds(np.array([[0.2], [1.0], [np.nan]]), np.array([1, 1, 1]))
    np.testing.assert_allclose(one, [math.log(0.25), math.inf, math.nan])


@pytest.mark.parametrize(
    "p, says",
    [([1.2, -0.2], "1.2 at .0, 0. is not between"), ([0.5, 0.4], "sum to 0.9"),
     ([0.5, np.inf], "inf at .0, 1.")],
)  # fmt: skip
def test_what_is_no_probability_is_refused(p, says):
    with pytest.raises(ValueError, match=says):
        signals.log_odds(np.array([p]), np.array([0]))


def test_probabilities_are_read_as_their_log_odds(tmp_path):
    member = RNG.random((3, 40)) < 0.5
    p = RNG.dirichlet(np.ones(3) / 9, size=(3, 40))
    p = np.where(p < 1e-3, 0, p)
    p /= p.sum(-1, keepdims=True)
    y = RNG.integers(3, size=40)
    own = np.take_along_axis(p, np.broadcast_to(y[:, None], (3, 40, 1)), 2)[..., 0]
    rest = [[sum(q for c, q in enumerate(row) if c != k) for row, k in zip(m, y, strict=True)]
            for m in p.tolist()]  # fmt: skip
    with np.errstate(divide="ignore"):
        phi = np.log(own) - np.log(rest)
    assert np.isinf(phi).any()
    for name, array in {"p": p, "y": y, "member": member, "target": p[0]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    options = Score(
        out=tmp_path / "out", probabilities=tmp_path / "p.npy", labels=tmp_path / "y.npy",
        member=tmp_path / "member.npy", target=tmp_path / "target.npy",
    )  # fmt: skip
    inputs.check(options)
    read, _ = inputs.references(options)
    np.testing.assert_allclose(read.phi[..., 0], phi, rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(read.margin)[..., 0] > 0, p.argmax(-1) == y)
    (target,), _ = inputs.targets_of(options, read)
    np.testing.assert_allclose(target.phi[:, 0], phi[0], rtol=1e-12)
    np.save(tmp_path / "p.npy", p * 2)
    with pytest.raises(ValueError, match="--probabilities: .* is not between 0 and 1"):
        inputs.references(options)


def test_a_nearest_neighbour_is_fully_exposed(tmp_path):
    """A stored record has an error of exactly 0, and no other has; labels of noise tell most."""
    numbers = fitted(KNeighborsRegressor(1), NUMBERS, tmp_path / "numbers")
    assert (np.isposinf(numbers[0].phi[..., 0]) == numbers[1]).all()
    for name in ("lira_online", "global_threshold"):
        assert rates(numbers, name) == (1.0, 1.0), name
    labels = fitted(KNeighborsClassifier(1), LABELS, tmp_path / "labels", models=16)
    auc, tpr = rates(labels, "lira_online")
    assert np.isinf(labels[0].phi).all() and auc > 0.9 and tpr > 0.3


def test_a_majority_rule_is_not_exposed_and_is_called_no_evidence(tmp_path):
    """Its answers are one and the same whoever was a member."""
    y = (np.arange(N) % 5 == 0).astype(int)
    of = fitted(DummyClassifier(strategy="most_frequent"), y, tmp_path / "labels")
    for name in ("lira_online", "global_threshold"):
        assert rates(of, name) == (0.5, 0.0), name
    (line,) = evidence.of_models(np.asarray(of[0].margin)[..., 0], of[1], y)
    assert "answer every record alike" in line and "no sign that what learns is safe" in line
    assert evidence.of_models(np.full(of[1].shape, np.inf), of[1], y) == []  # sure, and right
    phi, member = fitted(DummyRegressor(), NUMBERS, tmp_path / "numbers")
    (line,) = evidence.of_regressions(np.asarray(phi.phi)[..., 0], member, NUMBERS)
    assert "8 of 8" in line and "naming its mean" in line
    phi, member = fitted(LinearRegression(), NUMBERS, tmp_path / "line")
    assert not evidence.of_regressions(np.asarray(phi.phi)[..., 0], member, NUMBERS)


def test_an_audit_goes_on_where_it_was_left_to_the_same_numbers(tmp_path):
    """Models that are finished are not fitted again; one that is gone is, to the same bits."""
    tree = DecisionTreeClassifier(max_features=1)
    phi = np.asarray(fitted(tree, LABELS, tmp_path / "a")[0].phi)
    assert not np.array_equal(phi[0], phi[2])
    more = fitted(tree, LABELS, tmp_path / "b", models=10)[0]
    np.testing.assert_array_equal(np.asarray(more.phi)[:8], phi)
    record = tmp_path / "a/blocks/0000.json"
    before = json.loads(record.read_text())
    content = before | {"models": [m for m in before["models"] if m != 3]}
    write_json(record, sealed(content))
    again = fitted(tree, LABELS, tmp_path / "a")[0]
    np.testing.assert_array_equal(np.asarray(again.phi), phi)
    after = json.loads(record.read_text())["seconds"]
    assert [m for m, seconds in before["seconds"].items() if after[m] != seconds] == ["3"]
    with pytest.raises(ValueError, match="belongs to another experiment"):
        fitted(DecisionTreeClassifier(max_features=2), LABELS, tmp_path / "a")


def test_people_are_in_or_out_together_and_groups_are_told_apart(tmp_path):
    person = np.arange(N) // 3
    sex = np.where(np.arange(N) % 2, "w", "m")
    of = audit(KNeighborsClassifier(1), LABELS, tmp_path, groups=person, by={"sex": sex}, models=8)
    assert (of.member == of.member[:, person * 3]).all()
    assert of.summary["people"]["count"] == N // 3
    table = of.summary["groups"]["sex"]
    assert {row["group"]: row["records"] for row in table["groups"]} == {"m": 30, "w": 30}
    page = (of.path / "report/index.html").read_text()
    assert "Exposure by sex" in page and table["states"].split(":")[0] in page
    checks = of.summary["structure"]["checks"]
    assert checks["stored"]["risk"] and checks["stored"]["value"] == N // 2
    assert "lie in the model as they are" in page
    lines = (of.path / "report/records.csv").read_text().splitlines()
    assert len(lines) == N + 1 and lines[0].startswith("example,label,")
    assert len((of.path / "report/groups.csv").read_text().splitlines()) == 5


def test_the_worst_group_is_the_one_that_is_found():
    member = RNG.random((20, 50)) < 0.5
    group = np.array(["a", "b"])[(np.arange(50) < 35).astype(int)]
    score = RNG.normal(size=member.shape)
    score += np.where((group == "a") & member, 20, 0)
    of = of_groups(metrics.rank_all({"only": score}, member), {"g": group})["g"]
    assert of["worst"] == "a" and "surely more than 1 of the 1 others" in of["states"]
    cut = metrics.threshold_at_fpr(score, member, 0.001)
    for row in of["groups"]:
        inside = np.broadcast_to(group == row["group"], member.shape)
        for side, truth in (("tpr", member), ("fpr", ~member)):
            rate = (score >= cut)[inside & truth].mean()
            at = row["at"]["0.001"]
            assert at[side] == pytest.approx(rate, abs=1e-12)
            assert at[f"{side}_interval"][0] <= rate <= at[f"{side}_interval"][1]
    assert of["groups"][0]["auc"] == 1.0
    person = np.repeat(np.arange(50), 3)  # records that say the same are no more than one
    thrice = metrics.rank_all({"only": score[:, person]}, member[:, person])
    for row, other in zip(
        of["groups"], of_groups(thrice, {"g": group[person]}, person)["g"]["groups"], strict=True
    ):
        for side in ("tpr", "fpr"):
            want = row["at"]["0.01"][f"{side}_interval"]
            np.testing.assert_allclose(other["at"]["0.01"][f"{side}_interval"], want, atol=0.01)
        np.testing.assert_allclose(other["auc_interval"], row["auc_interval"], atol=1e-6)


@pytest.mark.soak
def test_a_fitted_estimator_is_attacked_itself_if_its_members_are_told(tmp_path):
    member = np.arange(N) < 40
    tree = DecisionTreeClassifier(random_state=0).fit(X[member], LABELS[member])
    by = {"first": np.arange(N) % 2}
    of = audit(tree, LABELS, tmp_path, member=member, models=12, by=by)
    assert of.path == tmp_path / "target" and of.member.shape == (1, N)
    own = of.summary["groups"]["first"]  # of this model, whose 20 non-members vouch for no rate
    assert "too few for rates" in own["states"] and all(r["auc"] > 0.9 for r in own["groups"])
    assert of.summary["attacks"]["lira_online"]["auc"] > 0.9
    assert (jaxmia.Run.open(tmp_path).member.sum(1) == 40).all()  # shadows as large as the target
    with pytest.raises(ValueError, match="cannot be asked"):
        unfitted = DecisionTreeClassifier(random_state=0)
        audit(unfitted, LABELS, tmp_path, member=member, models=12, by=by)


def test_a_class_that_a_half_lacks_has_probability_zero(tmp_path):
    labels = np.where(np.arange(N) == 7, "rare", np.where(X[:, 0] > 0, "yes", "no"))
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    signals_, member = fitted(pipe, labels, tmp_path)
    assert (np.isneginf(signals_.phi[:, 7, 0]) == ~member[:, 7]).all()


def test_randomness_is_of_seed_and_model_and_fixed_numbers_stay():
    free = make_pipeline(StandardScaler(), DecisionTreeClassifier())
    numbers = [procedure.seeded(free, 1, m).steps[1][1].random_state for m in (0, 1, 0)]
    assert numbers[0] == numbers[2] != numbers[1]
    assert procedure.seeded(DecisionTreeClassifier(random_state=4), 1, 0).random_state == 4
    assert repr(Procedure(DecisionTreeClassifier())) != repr(Procedure(free))
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    fitting.fit(free, X, LABELS, np.arange(5), Task(0, 0, np.arange(N) < 30))
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def of_structure(model, y):
    return structure.structure(model.fit(X, y), X, y)


def test_what_lies_in_a_model_is_counted():
    assert of_structure(KNeighborsClassifier(3), LABELS)["stored"] == N
    svm = make_pipeline(StandardScaler(), SVC())
    assert of_structure(svm, LABELS)["stored"] == svm.fit(X, LABELS)[-1].n_support_.sum()
    line = of_structure(LinearRegression(), NUMBERS)
    assert line["parameters"] == 4 and line["degrees_of_freedom"] == N - 4
    assert line["stored"] == 0
    tree = DecisionTreeClassifier(min_samples_leaf=3, random_state=0).fit(X, LABELS)
    leaves = [int(n) for n, child in zip(tree.tree_.n_node_samples, tree.tree_.children_left,
                                        strict=True) if child == -1]  # fmt: skip
    of = structure.structure(tree, X, LABELS)
    assert of["smallest_leaf"] == min(leaves)
    assert of["small_leaf"] == sum(n for n in leaves if n < structure.LEAST)


def test_files_are_read_and_pickles_are_not(tmp_path, as_users_run):
    pytest.importorskip("pandas")
    csv = tmp_path / "people.csv"
    rows = [f"{i},{v:.6f},{'ab'[i % 2]},{i // 2}" for i, v in enumerate(X[:, 0])]
    csv.write_text("\n".join(["age,height,ill,who", *rows]) + "\n")
    table = reading.table(str(csv), "ill", "who", ("ill",), ("age",))()
    assert table.label_names == ("a", "b") and list(table.x.columns) == ["height"]
    same = table.person[:, None] == table.person
    assert (same == (np.arange(N)[:, None] // 2 == np.arange(N) // 2)).all()
    with pytest.raises(ValueError, match="has no column 'y'; it has age, height, ill, who"):
        reading.table(str(csv))()
    with pytest.raises(ValueError, match="column 'age' cannot be dropped: the model takes it"):
        reading.table(str(csv), "ill", drop=("age",), features=("age", "height"))()
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join([*lines[:-1], lines[-1].rpartition(",")[0] + ","]) + "\n")
    with pytest.raises(ValueError, match=f"the person is missing in 1 of {N} records"):
        reading.table(str(csv), "ill", "who")()
    (tmp_path / "model.skops").write_bytes(pickle.dumps(DecisionTreeClassifier()))
    with pytest.raises(ValueError, match="is a pickle, which is never opened"):
        reading.estimator(tmp_path / "model.skops")


@pytest.mark.parametrize(
    "estimator, y, says",
    [
        (StandardScaler(), LABELS, "has no predict"), (KNeighborsClassifier, LABELS, "instance"),
        (KNeighborsClassifier(1), NUMBERS, "fractions"), (KNeighborsRegressor(1), LABELS * np.nan,
         "NaN"), (KNeighborsClassifier(1), LABELS[:9], "x has 60 rows"),
        (KNeighborsClassifier(1), LABELS * 0, "one class only"),
        (KNeighborsClassifier(99), LABELS, "model 0 could not be fitted on its 30 records"),
    ],
)  # fmt: skip
def test_what_cannot_be_audited_is_refused_in_one_line(tmp_path, estimator, y, says):
    with pytest.raises(ValueError, match=says) as error:
        audit(estimator, y, tmp_path)
    assert "\n" not in str(error.value)


CHILD = """
import sys, time
import numpy as np
from sklearn.tree import DecisionTreeClassifier
from jaxmia import audit

class Slow(DecisionTreeClassifier):
    def fit(self, x, y):
        time.sleep(0.3)
        return super().fit(x, y)

rng = np.random.default_rng(0)
audit(Slow(max_features=1), rng.normal(size=(80, 3)), rng.integers(3, size=80), models=24, jobs=2,
      out=sys.argv[1])
"""


@pytest.mark.soak
def test_an_audit_that_was_killed_goes_on_to_the_same_scores(tmp_path):
    """In two processes, killed without warning while some models are finished; and in one piece."""
    (tmp_path / "child.py").write_text(CHILD)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    call = [sys.executable, str(tmp_path / "child.py")]
    record = tmp_path / "killed/blocks/0000.json"
    process = subprocess.Popen([*call, str(tmp_path / "killed")], env=environment)
    while process.poll() is None and not record.exists():
        time.sleep(0.05)
    time.sleep(0.5)
    process.kill()
    process.wait()
    finished = json.loads(record.read_text())["models"]
    assert 0 < len(finished) < 16 and not (tmp_path / "killed/summary.json").exists()
    for name in ("killed", "whole"):
        subprocess.run([*call, str(tmp_path / name)], env=environment, check=True)
    one, other = (dict(np.load(tmp_path / n / "scores.npz")) for n in ("killed", "whole"))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
