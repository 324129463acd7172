"""Poisons are in every model, with one wrong label; where nothing is learned nothing is found."""

import numpy as np
import pytest
from row_pages import check_page

from experiments.pages import poisoning as page
from experiments.studies import poisoning as study
from jaxmia import data, design
from jaxmia.values import describe, factories, parse

SOURCE = data.people(30, classes=5, test=10)


def test_poisons_stand_behind_the_pool_with_one_wrong_label_each():
    pool, poisoned = SOURCE(), data.poisoned(SOURCE, (7, 2, 11), copies=3)()
    assert pool.person is not None and poisoned.person is not None
    N = len(pool.y)
    assert len(poisoned.y) == len(poisoned.x) == len(poisoned.person) == N + 9
    for name in ("x", "y", "person"):
        np.testing.assert_array_equal(getattr(poisoned, name)[:N], getattr(pool, name))
    for i, target in enumerate((7, 2, 11)):
        own = slice(N + 3 * i, N + 3 * i + 3)
        assert (poisoned.x[own] == pool.x[target]).all()
        assert len(set(poisoned.y[own].tolist())) == 1 and poisoned.y[own][0] != pool.y[target]
    assert len(set(poisoned.person[N:].tolist()) - set(pool.person.tolist())) == 9
    np.testing.assert_array_equal(poisoned.x_test, pool.x_test)


def test_each_wrong_class_is_as_likely():
    source = data.synthetic(3000, classes=4)
    y, N = source().y, 3000
    wrong = data.poisoned(source, range(N), 1)().y[N:]
    count = np.bincount((wrong - y) % 4, minlength=4)
    assert count[0] == 0 and (abs(count[1:] - N / 3) < 5 * np.sqrt(N * 2 / 9)).all()


def test_canaries_put_poisons_and_everybody_else_into_every_model():
    flags = study.Flags(targets=20, models=6)
    index = study.targets(flags)
    with_poisons, without = (study.experiment(flags, index, copies) for copies in (2, 0))
    N = len(without.data().y)
    assert len(with_poisons.data().y) == N + 40
    member = with_poisons.design(0, 6, N + 40)
    others = np.setdiff1d(np.arange(N + 40), index)
    assert member[:, others].all() and 0 < member[:, index].mean() < 1
    # the same coins with and without, so that the two can be compared
    np.testing.assert_array_equal(member[:, index], design.canaries(index)(0, 6, N)[:, index])


def test_a_poisoned_source_is_found_again_by_what_it_prints():
    source = data.poisoned(data.digits(), (3, 1), copies=4, seed=2)
    assert parse(describe(source), factories(data)) == source


@pytest.mark.parametrize(("wrong", "says"), [
    (lambda: data.poisoned(SOURCE, (1, 1)), "different numbers"),
    (lambda: data.poisoned(SOURCE, (1,), copies=0), "copies=0"),
    (lambda: data.poisoned(SOURCE, ()), "different numbers"),
    (lambda: data.poisoned(SOURCE, (900,))(), "900 is not in the pool"),
    (lambda: study.targets(study.Flags(targets=1)), "--targets: 1"),
    (lambda: study.targets(study.Flags(copies=(1, 2))), "--copies"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()


def test_what_poisons_add_is_measured_on_the_same_draws():
    rng = np.random.default_rng(0)
    member = rng.random((20, 60)) < 0.5
    before = rng.normal(size=member.shape) + member
    same = study.more(before, before, member)
    assert all(part == {"more": 0, "interval": [0, 0]} for part in same.values())
    added = study.more(before + 2 * member, before, member)
    for name, part in added.items():
        assert part["interval"][0] < part["more"] < part["interval"][1] or name == "tpr_0.001"
        assert part["more"] > 0.1 and part["interval"][0] > 0


@pytest.mark.soak
def test_where_nothing_is_learned_nothing_is_found(tmp_path):
    """Models that stay as they were drawn: poisons and targets leave no trace in them."""
    flags = study.Flags(
        targets=60, copies=(0, 4), models=16, epochs=1, rate=1e-12, workdir=tmp_path, quiet=True
    )
    for row in study.run(flags):
        assert abs(row["auc"] - 0.5) < 4 * np.sqrt(2 / (12 * row["n"]))


@pytest.mark.soak
def test_poisons_add_to_what_is_found_and_the_page_is_made_of_the_rows(tmp_path, monkeypatch):
    flags = study.Flags(
        targets=40, copies=(0, 8), models=16, epochs=15, workdir=tmp_path, results=tmp_path,
        quiet=True,
    )  # fmt: skip
    lira = [row for row in study.run(flags) if row["attack"] == "lira_online"]
    assert lira[1]["over_none"]["auc"]["interval"][0] > 0.1
    check_page(page, "poisoning", tmp_path, monkeypatch)
