"""Ratings without names: a double loop of the score, the rule, the null, files that do not fit."""

from math import exp, log, sqrt
from statistics import pstdev

import numpy as np
import pytest
from row_pages import check_page

from experiments.pages import ratings as page
from experiments.studies import ratings as study
from experiments.studies import ratings_scoreboard as scoreboard
from experiments.studies.ratings_knowledge import Setting, draws_for, knowledge_of
from experiments.studies.ratings_release import Ratings, read, simulated


@pytest.fixture(scope="module")
def few():
    """60 persons with up to 20 ratings of 40 items; some items have one subscriber, or none."""
    return simulated(0, 60, 40)


def by_person(ratings, p):
    at = np.flatnonzero(ratings.person == p)
    return {int(ratings.item[e]): (ratings.rating[e], ratings.day[e]) for e in at}


def plain(ratings, inside, knowledge, rho, days):
    """The score of every record, item by item."""
    records = [by_person(ratings, p) for p in np.flatnonzero(inside)]
    out = np.zeros((len(knowledge.item), len(records)))
    for i in range(len(knowledge.item)):
        for r, record in enumerate(records):
            for item, rating, day in zip(*(a[i].tolist() for a in knowledge), strict=True):
                if item in record:
                    supp = sum(item in other for other in records)
                    near = exp(-abs(record[item][0] - rating) / rho)
                    if day == day:
                        near += exp(-abs(record[item][1] - day) / days)
                    out[i, r] += near / log(max(supp, 2))
    return out


@pytest.mark.parametrize("setting", [Setting(3, 5, 1), Setting(4, None), Setting(4, 9, 2, True)])
def test_scores_are_those_of_a_double_loop(few, setting, monkeypatch):
    inside = np.arange(60) % 3 > 0
    who = np.flatnonzero(np.bincount(few.person) >= 4)
    knowledge = knowledge_of(few, draws_for(few, who, 4, 0), setting)
    release = scoreboard.released(few, inside)
    assert 0 in np.diff(release.start) and 1 in np.diff(release.start)
    want = plain(few, inside, knowledge, 1.2, 20.0)
    np.testing.assert_allclose(scoreboard.scores(release, knowledge, 1.2, 20.0), want, rtol=1e-12)
    monkeypatch.setattr(scoreboard, "CHUNK", 200)  # a few persons at a time
    match = scoreboard.matched(release, knowledge, 1.2, 20.0)
    for i, row in enumerate(want.tolist()):
        best, second = sorted(row)[::-1][:2]
        spread = pstdev(row)
        assert match.record[i] == row.index(best)
        np.testing.assert_allclose(match.eccentricity[i], (best - second) / spread if spread else 0)
        support = [max(2, release.start[j + 1] - release.start[j]) for j in knowledge.item[i]]
        most = sum((1 if setting.days is None else 2) / log(s) for s in support)
        np.testing.assert_allclose(match.score[i], best / most)


def test_whoever_is_known_wholly_is_found_and_nobody_is_who_was_taken_out():
    ratings = simulated(1, 200, 400)
    who = np.flatnonzero(np.bincount(ratings.person) >= 8)
    knowledge = knowledge_of(ratings, draws_for(ratings, who, 8, 0), Setting(8, 0))
    everybody = np.ones(200, bool)
    match = scoreboard.matched(scoreboard.released(ratings, everybody), knowledge)
    np.testing.assert_array_equal(match.record, who)
    np.testing.assert_allclose(match.score, 1)
    assert (match.eccentricity > 1.5).mean() > 0.99
    for i in (0, 7):
        without = everybody.copy()
        without[who[i]] = False
        alone = scoreboard.Knowledge(*(a[[i]] for a in knowledge))
        again = scoreboard.matched(scoreboard.released(ratings, without), alone)
        assert again.score[0] < 0.9 and again.eccentricity[0] < match.eccentricity[i]


def test_nobody_is_found_by_ratings_of_somebody_else():
    """Of those in the release others' ratings are known, who are in no release."""
    ratings, inside = simulated(2, 1600, 150), np.arange(1600) < 400
    enough = np.flatnonzero(np.bincount(ratings.person) >= 8)
    own, others = enough[inside[enough]], enough[~inside[enough]]
    stand_in, outside = others[: len(own)], others[len(own) :]
    draws = draws_for(ratings, np.concatenate([stand_in, outside]), 8, 0)
    people = study.People(ratings, inside, np.concatenate([own, outside]), draws)
    flags = study.Flags(eccentricity=0.7)  # so that chance alone names many
    for setting in (Setting(2, 3), Setting(8, 14, 2)):
        row = study.measured(people, inside, setting, flags)
        sides = [1 / row["inside"], 1 / row["outside"]]
        for score in row["membership"].values():
            assert abs(score["auc"] - 0.5) < 4 * sqrt(sum(sides) / 12)
        rate = row["false"]["share"]
        matches = row["found"]["share"] + row["mistaken"]["share"]
        assert rate > 0.02 and abs(matches - rate) < 4 * sqrt(rate * (1 - rate) * sum(sides))
        assert row["found"]["share"] <= 3 / row["inside"]  # the false rate, over all records


def test_what_is_known_is_off_by_as_many_days_and_wrong_in_as_many_ratings():
    ratings = simulated(0, 300, 200)
    who = np.flatnonzero(np.bincount(ratings.person) >= 8)
    draws = draws_for(ratings, who, 8, 0)
    exact, near = (knowledge_of(ratings, draws, Setting(8, d)) for d in (0, 3))
    off, count = np.unique(near.day - exact.day, return_counts=True)
    np.testing.assert_array_equal(off, np.arange(-3, 4))
    assert (abs(count - count.sum() / 7) < 5 * sqrt(count.sum() / 7)).all()
    for i, p in enumerate(who.tolist()):
        record = by_person(ratings, p)
        assert len({*exact.item[i].tolist()}) == 8
        for item, rating, day in zip(*(a[i].tolist() for a in exact), strict=True):
            assert record[item] == (rating, day)
    fewer = knowledge_of(ratings, draws, Setting(4, 3))
    np.testing.assert_array_equal(fewer.day, near.day[:, :4])  # contained in what more is known
    wrong, elsewhere = (knowledge_of(ratings, draws, Setting(8, 3, 2, w)) for w in (False, True))
    for knowledge in (wrong, elsewhere):
        np.testing.assert_array_equal(knowledge.day[:, :6], near.day[:, :6])
        assert (knowledge.day[:, 6:] == near.day[:, 6:]).mean() < 0.1
    np.testing.assert_array_equal(wrong.item, near.item)
    assert (elsewhere.item[:, 6:] == near.item[:, 6:]).mean() < 0.2


def test_a_person_depends_on_the_seed_and_its_number_alone():
    few, more = simulated(3, 20, 100), simulated(3, 30, 100)
    for a, b in zip(few[:4], more[:4], strict=True):
        np.testing.assert_array_equal(a, b[: len(a)])
    assert len({*zip(more.person.tolist(), more.item.tolist(), strict=True)}) == len(more.item)
    assert set(np.unique(more.rating)) <= {1, 2, 3, 4, 5}
    assert 0 <= more.day.min() and more.day.max() < 2000


HEADER = "user,item,rating,date\n"


def test_a_file_is_read_whatever_the_order_of_its_columns(tmp_path):
    file = tmp_path / "r.csv"
    file.write_text('date,rating,note,item,user\n2005-03-01,4.5,"a, b",x,u\n\n2005-03-31,2,,x,v\n'
                    "2005-03-02,1,,y,u\n")  # fmt: skip
    ratings = read(file)
    np.testing.assert_array_equal(ratings.person, [0, 0, 1])
    np.testing.assert_array_equal(ratings.item, [0, 1, 0])
    np.testing.assert_array_equal(ratings.rating, [4.5, 1, 2])
    np.testing.assert_array_equal(ratings.day - ratings.day[0], [0, 1, 30])
    assert ratings.persons == ratings.items == 2
    file.write_text(HEADER + "u,x,3,-20\nv,x,3,15\n")
    np.testing.assert_array_equal(read(file).day, [-20, 15])


@pytest.mark.parametrize(("text", "says"), [
    ("", "line 1: a header must name"),
    ("user,item,rating\n", "line 1: .*not date"),
    ("user,item,rating,date,date\n", "line 1: .*not date"),
    (HEADER, "must have rows"),
    (HEADER + "u,x,3,1\nu,y,3\n", "line 3: has 3 fields"),
    (HEADER + "u,x,3,1\n\n,y,3,1\n", "line 4: user and item"),
    (HEADER + "u,x,many,1\n", "line 2: rating 'many'"),
    (HEADER + "u,x,nan,1\n", "line 2: rating 'nan'"),
    (HEADER + "u,x,3,2005-02-30\n", "line 2: date '2005-02-30'"),
    (HEADER + "u,x,3,1.5\n", "line 2: date '1.5'"),
    (HEADER + f"u,x,3,{10**30}\n", "line 2: date"),
    (HEADER + "u,x,3,1\nu,x,4,2\n", "line 3: 'u' has rated 'x' before"),
    (HEADER + 'u,x,3,1\n"u,x,3,1\n', "line 3: must be CSV"),
    (HEADER + "u,x,3,1\nu\xff,y,3,1\n", "line .: must be CSV in UTF-8"),
])  # fmt: skip
def test_a_row_that_does_not_fit_is_refused_by_its_line(tmp_path, text, says):
    file = tmp_path / "r.csv"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=says):
        read(file)


@pytest.mark.parametrize(("flags", "says"), [
    ({"persons": 4}, "--persons: 4"), ({"ratings": ()}, "--ratings: must"),
    ({"ratings": (0,)}, "--ratings: 0"),
    ({"days": (-1,)}, "--days: -1"), ({"wrong": (1.5,)}, "--wrong: 1.5"), ({"rho": 0.0}, "--rho"),
    ({"eccentricity": float("nan")}, "--eccentricity"), ({"ratings": (9000,)}, "9000 or more"),
])  # fmt: skip
def test_options_that_do_not_fit_are_refused(flags, says):
    with pytest.raises(ValueError, match=says):
        study.people(study.Flags(**{"persons": 20, "items": 50} | flags))


def write(file, ratings: Ratings):
    columns = (ratings.person, ratings.item, ratings.rating, ratings.day)
    lines = [f"u{p},i{i},{r},{d}" for p, i, r, d in zip(*columns, strict=True)]
    file.write_text(HEADER + "\n".join(lines))


def test_the_study_measures_and_its_page_is_made_of_its_rows(tmp_path, monkeypatch):
    write(tmp_path / "r.csv", simulated(0, 200, 300))
    folders = {"out": tmp_path / "out", "results": tmp_path / "rows"}
    flags = study.Flags(
        data=tmp_path / "r.csv", ratings=(1, 8), days=(14,), wrong=(0, 0.25), **folders
    )
    lines = study.run(flags)
    assert [r["persons"] for r in lines if r["case"] == "size"] == [6, 12, 25, 50]
    own = {(r["known"], r["days"], r["wrong"]): r for r in lines if not r["wrong_items"]}
    most = own[8, 14, 0]["found"]["share"]
    assert most > 0.9
    assert all(own[k]["found"]["share"] < most for k in ((1, 14, 0), (8, None, 0)))
    assert own[8, None, 2]["found"]["share"] < own[8, None, 0]["found"]["share"]
    assert own[8, 14, 2]["found"]["share"] <= most  # dates make up for two wrong ratings
    assert own[8, 14, 0]["membership"]["fit"]["auc"] > 0.95
    assert (tmp_path / "out/power.svg").exists() and (tmp_path / "out/rows.json").exists()
    check_page(page, "ratings", tmp_path / "rows", monkeypatch)
