"""`--groups`: what is found of each group, by all models in turn and of one given target."""

import csv
import json

import numpy as np
import pytest

from jaxmia import design, metrics
from jaxmia.command import app, grouping
from jaxmia.evaluation.groups import of_groups
from jaxmia.metrics.intervals import RULE_OF_THREE

M, N = 6, 800
RNG = np.random.default_rng(0)
MEMBER = design.complementary_halves(0, M, N)
SEX = np.array(["m", "w"])[RNG.integers(2, size=N)]
REGION = np.where(RNG.random(N) < 0.1, np.nan, RNG.integers(3, size=N))
PHI = RNG.normal(size=(M, N)) + MEMBER * np.where(SEX == "w", 6, 0)


@pytest.fixture
def files(tmp_path, as_users_run):
    for name, array in {"phi": PHI[1:], "member": MEMBER[1:], "target": PHI[0],
                        "target_member": MEMBER[0]}.items():  # fmt: skip
        np.save(tmp_path / f"{name}.npy", array)
    grouping.save(tmp_path / "by.npz", {"sex": SEX, "file": REGION})
    return tmp_path


def scored(files, *more):
    words = ["--signals", "phi.npy", "--member", "member.npy", "--groups", "by.npz", *more]
    words = [str(files / w) if "." in w else w for w in words]
    app.main(["score", "--out", str(files / "out"), "--attacks", "lira_online", *words])
    return json.loads((files / "out/summary.json").read_text())["groups"]


def check(groups, score, member, levels):
    """Shares of each group's own scores above the one threshold of all, in plain loops."""
    for level in ("0.01", "0.001"):
        cut = metrics.threshold_at_fpr(score, member, float(level))
        for row in groups["sex"]["groups"]:
            inside = np.broadcast_to(row["group"] == SEX, member.shape)
            for side, truth in (("tpr", member), ("fpr", ~member)):
                at = row["at"][level]
                if level not in levels:
                    assert at[side] is None and at[f"{side}_interval"] is None
                    continue
                rate = (score >= cut)[inside & truth].mean()
                assert at[side] == pytest.approx(rate, abs=1e-12)
                assert at[f"{side}_interval"][0] <= rate <= at[f"{side}_interval"][1]
            auc = metrics.auc(score[:, row["group"] == SEX], member[:, row["group"] == SEX])
            assert row["auc"] == pytest.approx(auc, abs=1e-9)


def test_every_model_in_turn(files):
    groups = scored(files)
    assert list(groups) == ["sex", "file"]
    assert [row["group"] for row in groups["file"]["groups"]] == ["0", "1", "2", "missing"]
    with np.load(files / "out/scores.npz") as archive:
        check(groups, archive["lira_online"], MEMBER[1:], ("0.01", "0.001"))
    assert groups["sex"]["worst"] == "w"
    assert "Exposure by sex" in (files / "out/report/index.html").read_text()


def test_one_given_target_has_rates_that_its_non_members_vouch_for(files):
    groups = scored(files, "--target", "target.npy", "--target-member", "target_member.npy")
    assert N / 2 * 0.01 > RULE_OF_THREE > N / 2 * 0.001
    with np.load(files / "out/scores.npz") as archive:
        check(groups, archive["lira_online"], MEMBER[:1], ("0.01",))
    assert "of its members found at 1 % FPR" in groups["sex"]["states"]
    assert groups["sex"]["worst"] == "w"
    rows = list(csv.DictReader((files / "out/report/groups.csv").open()))
    assert {(r["at_fpr"], bool(r["tpr"])) for r in rows} == {("0.01", True), ("0.001", False)}


def test_of_few_non_members_there_are_only_areas():
    member = np.arange(100)[None] % 2 == 0
    score = RNG.normal(size=(1, 100)) + 2 * member
    of = of_groups(metrics.rank_all({"only": score}, member), {"g": SEX[:100]})["g"]
    assert of["worst"] is None and "too few for rates" in of["states"]
    assert all(row["at"][v]["tpr"] is None for row in of["groups"] for v in row["at"])
    assert all(0.5 < row["auc"] <= 1 for row in of["groups"])


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"age": np.arange(N)}, "by.npz: the group 'age' has 800 values, 50 at most"),
        ({"sex": SEX[:-1]}, "by.npz: sex has shape (799,), there are 800 records"),
        ({}, "by.npz holds no column"),
        (None, "by.npz cannot be read as an .npz of plain arrays"),
    ],
)
def test_what_are_no_groups_is_refused(files, capsys, columns, line):
    if columns is None:
        np.savez(files / "by.npz", sex=np.array([{}, 1], object))
    else:
        grouping.save(files / "by.npz", columns)
    with pytest.raises(SystemExit) as end:
        scored(files)
    err = capsys.readouterr().err
    assert end.value.code == 2 and line in err and len(err.splitlines()) == 1
    assert not (files / "out").exists()
