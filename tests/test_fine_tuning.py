"""The study of fine-tuning: slopes as by least squares, and figures that its page is made of."""

import numpy as np
import pytest

from experiments.pages import fine_tuning as page
from experiments.studies import fine_tuning as study
from tests.row_pages import check_page


def test_a_power_law_has_its_exponent_and_least_squares_that_of_numpy():
    examples = np.array([4.0, 8, 16, 64])
    exact = 0.01 + 0.3 * examples**-0.5
    least = np.full(4, 1e-6)
    np.testing.assert_allclose(study.slope(examples, exact, 0.01, least), -0.5)
    noisy = exact * np.random.default_rng(0).uniform(0.8, 1.2, (5, 4))
    ours = study.slope(examples, noisy, 0.01, least)
    want = [np.polyfit(np.log(examples), np.log(row - 0.01), 1)[0] for row in noisy]
    np.testing.assert_allclose(ours, want)
    nothing = study.slope(examples, np.zeros(4), 0.01, np.array([8.0, 4, 2, 0.5]))
    np.testing.assert_allclose(nothing, -1)  # what is nowhere above counts as the least


def test_pools_have_as_many_records_of_each_class():
    source = study.digits(5)
    some = study.few(source, 7, np.random.default_rng(0))
    assert np.bincount(some.y).tolist() == [7] * 5
    rows = {tuple(x) for x in source.x}
    assert all(tuple(x) in rows for x in some.x)
    np.testing.assert_array_equal(some.x, study.few(source, 7, np.random.default_rng(0)).x)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"ways": ("everything",)}, "--ways: 'everything' is not one of head, adapters, all"),
        ({"examples": (4, 9000)}, r"--examples: \(4, 9000\) must be two or more, from 2 to"),
        ({"examples": (4,)}, "--examples"),
    ],
)
def test_what_does_not_fit_is_refused(flags, line, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "network_file", lambda flags: tmp_path / "none.npz")
    with pytest.raises(ValueError, match=line):
        study.setups(study.Flags(workdir=tmp_path, **flags))


@pytest.mark.soak
def test_a_head_on_few_examples_gives_away_more_and_the_page_is_made_of_rows(tmp_path, monkeypatch):
    flags = study.Flags(
        examples=(4, 32), ways=("head", "adapters"), records=80, models=16, epochs=20,
        workdir=tmp_path, results=tmp_path, quiet=True,
    )  # fmt: skip
    lines = study.run(flags)
    for way in flags.ways:
        few, many = (r["auc"] for r in lines if r["way"] == way and "auc" in r)
        assert few > many > 0.5
    source, ways = study.setups(flags)
    np.savez(tmp_path / "f.npz", x=source.x, y=source.y, x_test=source.x_test, y_test=source.y_test)
    study.run(study.Flags(
        features=tmp_path / "f.npz", examples=(4, 8), records=40, models=8, epochs=2,
        workdir=tmp_path, results=tmp_path, quiet=True,
    ))  # fmt: skip
    check_page(page, "fine_tuning", tmp_path, monkeypatch)


@pytest.mark.soak
def test_where_nothing_is_learned_nothing_is_found(tmp_path):
    flags = study.Flags(
        examples=(4, 8), ways=("head",), records=160, models=16, epochs=1, rate=1e-12,
        workdir=tmp_path, quiet=True,
    )  # fmt: skip
    for row in study.run(flags):
        if "auc" in row:
            assert abs(row["auc"] - 0.5) < 4 * np.sqrt(2 / (12 * row["n"]))
