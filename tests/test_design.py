import numpy as np
import pytest

from jaxmia import design
from jaxmia.values import parse

DESIGNS = [
    design.complementary_halves,
    design.poisson(0.3),
    design.fixed_size(7),
    design.balanced_columns(0.25),
    design.official_lira(0.5),
    design.one_unknown([1, 4, 6]),
    design.canaries([0, 5]),
    design.anchored(design.poisson(0.5), {3: 1, 7: 0}),
    design.anchored(design.balanced_columns(0.25), {3: 1}),
    design.after(design.complementary_halves, 9),
]


@pytest.mark.parametrize("make", DESIGNS, ids=lambda d: getattr(d, "__name__", str(d)))
def test_is_a_function_of_the_seed(make):
    a, b = make(3, 8, 40), make(3, 8, 40)
    assert a.dtype == bool and a.shape == (8, 40)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, make(4, 8, 40))


@pytest.mark.parametrize(
    "make",
    [d for d in DESIGNS if not design.fixed_models(d)],
    ids=lambda d: getattr(d, "__name__", str(d)),
)
def test_more_models_keep_the_first(make):
    np.testing.assert_array_equal(make(0, 64, 50), make(0, 129, 50)[:64])


@pytest.mark.parametrize("make", DESIGNS, ids=lambda d: getattr(d, "__name__", str(d)))
@pytest.mark.parametrize("people", [False, True])
def test_some_rows_are_those_of_the_whole(make, people):
    draw = design.of_people(make, np.arange(80) // 2) if people else make
    whole = draw(5, 9, 80 if people else 40)
    for rows in ([3], [8, 0, 1], [2, 3, 6, 7]):
        some = design.some(draw, 5, 9, whole.shape[1], rows)
        assert some.shape == (len(rows), whole.shape[1]) and some.dtype == bool
        np.testing.assert_array_equal(some, whole[rows])


def test_which_designs_draw_a_row_by_itself():
    def plain(seed, M, N):
        return [[True] * N] * M

    alone = [design.by_row(d) for d in DESIGNS]
    assert alone == [not design.fixed_models(d) for d in DESIGNS]
    assert not design.by_row(plain) and design.some(plain, 0, 4, 3, [2]).tolist() == [[True] * 3]


def test_a_row_of_a_membership_that_fits_no_memory():
    for make in (design.complementary_halves, design.poisson(0.5), design.fixed_size(3)):
        member = design.some(make, 0, 10**9, 10**5, [10**9 - 1, 7])
        assert member.shape == (2, 10**5) and member.any(1).all()


def test_which_designs_are_defined_for_a_fixed_number_of_models():
    fixed = [design.fixed_models(d) for d in DESIGNS]
    assert fixed == [False, False, False, True, True, False, False, False, True, False]


@pytest.mark.parametrize("N", [40, 41])
@pytest.mark.parametrize("M", [8, 9])
def test_complementary_halves(M, N):
    member = design.complementary_halves(0, M, N)
    np.testing.assert_array_equal(member[0:8:2], ~member[1:8:2])
    assert set(member.sum(1)) <= {N // 2, N - N // 2}
    both = member[::2].astype(float) - 0.5
    assert abs((both[0] * both[1]).mean()) < 0.25  # pairs are drawn apart


def test_chances_and_sizes():
    p = np.repeat([0.0, 0.2, 0.9, 1.0], 500)
    member = design.poisson(p)(0, 40, 2000)
    np.testing.assert_allclose(member.reshape(40, 4, 500).mean((0, 2)), [0, 0.2, 0.9, 1], atol=0.01)
    assert (design.fixed_size(17)(0, 30, 60).sum(1) == 17).all()
    assert (design.balanced_columns(0.25)(0, 16, 99).sum(0) == 4).all()
    one = design.one_unknown([1, 4, 6])(0, 300, 8)
    assert (one[:, [1, 4, 6]].sum(1) == 1).all() and one[:, [0, 2, 3, 5, 7]].all()
    assert (np.abs(one[:, [1, 4, 6]].mean(0) - 1 / 3) < 0.1).all()
    some = design.canaries([0, 5])(0, 300, 8)
    assert some[:, [1, 2, 3, 4, 6, 7]].all() and (np.abs(some[:, [0, 5]].mean(0) - 0.5) < 0.1).all()


def test_official_masks_bit_by_bit():
    np.random.seed(0)  # noqa: NPY002
    u = np.random.uniform(0, 1, size=(16, 30))  # noqa: NPY002
    want = u.argsort(0) < int(0.5 * 16)
    np.testing.assert_array_equal(design.official_lira(0.5)(0, 16, 30), want)


@pytest.mark.parametrize("make", DESIGNS, ids=lambda d: getattr(d, "__name__", str(d)))
def test_expected_members(make):
    members = design.expected_members(make, 0, 200)
    assert abs(members - make(0, 400, 200).sum(1).mean()) < 6


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: design.poisson(1.5), r"p=1\.5"),
        (lambda: design.poisson([0.5, 0.5])(0, 2, 3), "2 entries, the pool has 3"),
        (lambda: design.fixed_size(9)(0, 2, 3), "k=9 must be between 1 and the pool's 3"),
        (lambda: design.balanced_columns(0.0), r"p=0\.0"),
        (lambda: design.canaries([9])(0, 2, 3), "example 9 is not in the pool of 3"),
        (lambda: design.one_unknown([1, 1]), "different example numbers"),
        (lambda: design.anchored(design.complementary_halves, {}), "needs"),
        (lambda: design.anchored(design.complementary_halves, {-1: 0}), "from 0 up"),
        (lambda: design.anchored(design.complementary_halves, {1: 2}), "must be 1"),
        (
            lambda: design.anchored(design.poisson(0.5), {3: 1})(0, 2, 3),
            "3 is not in the pool of 3",
        ),
        (lambda: design.expected_members(design.poisson(0.0), 0, 9), "without members"),
    ],
)
def test_refuses(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_anchors_are_fixed_and_nothing_else_is():
    base, anchors = design.complementary_halves, {2: 0, 30: 1, 5: 1}
    member, free = design.anchored(base, anchors)(1, 9, 40), base(1, 9, 40)
    assert not member[:, 2].any() and member[:, [5, 30]].all()
    rest = np.setdiff1d(np.arange(40), [*anchors])
    np.testing.assert_array_equal(member[:, rest], free[:, rest])
    np.testing.assert_array_equal(free, base(1, 9, 40))


def test_an_anchored_design_is_read_as_it_prints():
    value = design.anchored(design.complementary_halves, {2: 0, 5: 1})
    assert repr(value) == "anchored(complementary_halves, {2: 0, 5: 1})"
    assert parse(repr(value), design.DESIGNS) == value
    assert value != design.anchored(design.complementary_halves, {2: 1, 5: 1})
