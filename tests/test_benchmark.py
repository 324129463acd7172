"""The benchmark of attacks: its tables are read without trust, its ranks are those of the books."""

import json
import lzma
import pickle

import numpy as np
import pytest
from scipy.stats import chi2

from experiments import ranks
from experiments.benchmarks.attacks import __main__ as benchmark
from experiments.benchmarks.attacks import cells, frames, indicators, sets
from experiments.pages import benchmark as page
from jaxmia import design
from jaxmia.attacks import ATTACKS
from jaxmia.attacks.references import leave_out
from jaxmia.command import terminal
from jaxmia.evaluation.power import attack_in_groups
from jaxmia.types import Signals

RNG = np.random.default_rng(0)


def plain(value):
    """The opcodes of a plain value, without the head and the stop."""
    return pickle.dumps(value, 3)[2:-1]


def name(module, what):
    return f"c{module}\n{what}\n".encode()


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def kind(text):
    own = call(name("numpy", "dtype"), plain(text), plain(False), plain(True))
    return own + plain((3, "<" if text != "O8" else "|", None, None, None, -1, -1, 0)) + b"b"


def buffer(array):
    content = array.tobytes()
    parts = (
        b"\x96" + len(content).to_bytes(8, "little") + content,
        kind(array.dtype.str[1:]), plain(array.shape), plain("C"),
    )  # fmt: skip
    return call(name("numpy.core.numeric", "_frombuffer"), *parts)


def objects(values, shape):
    shell = call(
        name("numpy.core.multiarray", "_reconstruct"),
        name("numpy", "ndarray"), plain((0,)), plain(b"b"),
    )  # fmt: skip
    state = b"(" + plain(1) + plain(shape) + kind("O8") + plain(False) + plain(values) + b"t"
    return shell + state + b"b"


def index(content):
    own = name("pandas.core.indexes.base", "Index")
    state = b"}" + plain("data") + content + b"s"
    return call(name("pandas.core.indexes.base", "_new_Index"), own, state)


def block(values, places):
    own = call(name("builtins", "slice"), *map(plain, places))
    return call(name("pandas._libs.internals", "_unpickle_block"), values, own, plain(2))


def table(*blocks, names):
    manager = call(
        name("pandas.core.internals.managers", "BlockManager"),
        b"(" + b"".join(blocks) + b"t",
        b"]" + index(objects(list(names), (len(names),))) + b"a",
    )
    state = b"}" + plain("_mgr") + manager + b"s"
    frame = name("pandas.core.frame", "DataFrame") + b")\x81" + state + b"b"
    return lzma.compress(b"\x80\x05" + frame + b".")


def test_a_pickled_table_is_read_column_by_column():
    numbers = np.array([[1.5, np.nan], [3.0, 4.0]])
    words = objects(["a", "b"], (1, 2))
    file = table(block(buffer(numbers), (0, 4, 2)), block(words, (1, 2, 1)), names="pqr")
    result = frames.read(file, "t")
    assert list(result) == ["p", "q", "r"] and result["q"].tolist() == ["a", "b"]
    np.testing.assert_array_equal(result["p"], numbers[0])
    np.testing.assert_array_equal(result["r"], numbers[1])


class Shout:
    def __reduce__(self):
        return print, ("called",)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (pickle.dumps(Shout()), "names builtins.print"),
        (pickle.dumps(np.zeros(3)), "which no table needs"),
        (b"\x80\x05" + objects([b"bytes"], (1,)) + b".", "neither text nor a number"),
        (pickle.dumps([1, 2]), "no DataFrame"),
        (b"\x80\x05cpandas.core", "no table"),
        (pickle.dumps(1)[:-1] + b"Q.", "outside"),
    ],
)
def test_a_file_that_names_more_than_a_table_needs_is_refused_uncalled(content, why, capsys):
    with pytest.raises(ValueError, match=why):
        frames.read(lzma.compress(content), "t")
    assert "called" not in capsys.readouterr().out


def test_what_is_no_xz_file_is_refused():
    with pytest.raises(ValueError, match="t: is no table"):
        frames.read(b"not compressed", "t")


def test_ranks_and_the_test_of_friedman_are_those_of_loops():
    figure = np.round(RNG.random((7, 5)), 1)  # with ties
    want = np.array(
        [[1 + sum(b > a for b in row) + (sum(b == a for b in row) - 1) / 2 for a in row]
         for row in figure]
    )  # fmt: skip
    result = ranks.compared(figure)
    np.testing.assert_allclose(ranks.ranked(figure), want)
    np.testing.assert_allclose(result.rank, want.mean(0))
    s, k = figure.shape
    spread = sum(s * (mean - (k + 1) / 2) ** 2 for mean in want.mean(0))
    within = sum((r - (k + 1) / 2) ** 2 for row in want for r in row) / (s * (k - 1))
    np.testing.assert_allclose(result.p_value, chi2.sf(spread / within, k - 1))


@pytest.mark.parametrize(("attacks", "q"), [(3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_table(attacks, q):
    """q of Demšar 2006, table 5(a); his example of 4 classifiers on 14 sets has 1.25."""
    want = q * np.sqrt(attacks * (attacks + 1) / 60)
    assert abs(ranks.critical_difference(attacks, 10) - want) < 2e-3
    assert abs(ranks.critical_difference(4, 14) - 1.25) < 0.01


def test_attacks_that_are_alike_are_rarely_told_apart():
    draws = [ranks.compared(RNG.random((10, 6))) for _ in range(300)]
    assert np.mean([d.p_value < 0.05 for d in draws]) < 0.09
    assert np.mean([not d.as_good().all() for d in draws]) < 0.09
    assert ranks.compared(np.ones((5, 4))).as_good().all()
    better = RNG.random((10, 6)) + np.array([2, 0, 0, 0, 0, 0])
    assert ranks.compared(better).as_good()[0] and not ranks.compared(better).as_good().all()


def test_kinds_of_model_of_a_set_count_as_one_set():
    figure = RNG.random((2, 6, 4))
    want = [[-(a + b) / 2 for a, b in zip(*pair, strict=True)]
            for pair in zip(*map(ranks.ranked, figure), strict=True)]  # fmt: skip
    np.testing.assert_allclose(ranks.together(figure), want)


@pytest.mark.parametrize("figure", [np.ones((2, 5)), np.ones((5, 2)), np.full((5, 5), np.nan)])
def test_too_few_sets_or_figures_are_refused(figure):
    with pytest.raises(ValueError, match="ranks: needs"):
        ranks.compared(figure)


def test_targets_of_a_group_are_attacked_by_its_others_without_the_partner():
    member = design.complementary_halves(0, 14, 30)
    phi = RNG.normal(size=(14, 30, 1)) + member[..., None]
    scores, truth = attack_in_groups(Signals(phi), member, ["base"], leave_out(member), 6, 12)
    assert truth.shape == (12, 30)
    for target in range(12):
        group = range(target // 6 * 6, target // 6 * 6 + 6)
        others = [m for m in group if m // 2 != target // 2]
        assert len(others) == 4
        want = ATTACKS["base"].score(Signals(phi[target]), Signals(phi[others]), member[others])
        np.testing.assert_allclose(scores["base"][target], want, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(truth[target], member[target])


def test_indicators_are_those_of_loops():
    member = design.complementary_halves(0, 6, 200)
    phi = RNG.normal(size=member.shape) * 3 + member
    trajectory = np.stack([phi - 2, phi - 1, phi], axis=-1) + RNG.normal(size=(6, 200, 3))
    score = -phi * member + RNG.normal(size=member.shape)
    result = indicators.measured(phi, trajectory, score, member)
    highest = np.sort(score[~member])[::-1][int(1e-3 * (~member).sum() + 1e-9)]
    above = {(m, n) for m in range(6) for n in range(200) if member[m, n] and score[m, n] > highest}
    loss = np.log1p(np.exp(-phi))
    hits = [(m, n) in above for m in range(6)
            for n in sorted(np.flatnonzero(member[m]), key=lambda n: -loss[m, n])[:1]]  # fmt: skip
    np.testing.assert_allclose(result["precision"]["final_loss"], np.mean(hits), atol=1e-6)
    np.testing.assert_allclose(result["at_random"], len(above) / member.sum(), atol=1e-6)
    along = np.sort(np.log1p(np.exp(-trajectory)), axis=-1)
    want = (along[..., 1] + along[..., 2]) / 2 - (along[..., 0] + along[..., 1]) / 2
    np.testing.assert_allclose(indicators.iqr(trajectory), want)
    none = np.mean([(loss[m][~member[m]] > loss[m][member[m]].max()).mean() for m in range(6)])
    np.testing.assert_allclose(result["tnr"]["1"], none, atol=1e-6)


def test_an_indicator_that_says_nothing_is_as_precise_as_chance():
    member = design.complementary_halves(0, 100, 400)
    exposure = member & (RNG.random(400) < 0.1)
    share = exposure[member].mean()
    result = indicators.precision(np.ones(member.shape), member, exposure, share=0.2)
    assert abs(result - share) < 0.015  # 4000 are named


def test_a_pool_takes_whole_persons_and_sets_a_fifth_aside():
    person = np.repeat(np.arange(100), 3)
    x = RNG.normal(size=(300, 2))
    records = sets.Records(x, (x[:, 0] > 0).astype(int), person)
    of = sets._pool("t", records, 151)
    assert len(of.y) == 3 * 40 and len(of.y_test) == 3 * 10
    assert of.person is not None and set(np.bincount(of.person)) <= {0, 3}
    assert len(np.unique(np.concatenate([of.x, of.x_test]), axis=0)) == 150


def test_groups_are_those_of_the_pool_s_records_in_its_order(monkeypatch):
    value = RNG.permutation(200)
    records = sets.Records(value[:, None] * 1.0, value % 2, groups={"tens": value // 10})
    monkeypatch.setitem(sets.SETS, "t", sets.Set("", lambda _: records))
    of = sets.pool("t", 100)()
    own = sets.groups("t", 100)["tens"]
    assert len(own) == len(of.y) == 80
    order = np.argsort(of.x[:, 0])
    assert (np.diff(own[order].astype(int)) >= 0).all()
    assert sets.groups("wine", 100) == {}


def test_columns_of_text_and_gaps_are_coded():
    columns = {"a": np.array([1.0, np.nan, 3.0]), "b": np.array(["x", "y", "z"], object),
               "c": np.array(["no", "yes", "no"], object)}  # fmt: skip
    assert [c.tolist() for c in sets._numbers(columns, "a")] == [[1, 2, 3], [0, 1, 0]]
    assert [c.tolist() for c in sets._values(columns, "b c")] == [
        [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]
    ]  # fmt: skip


def test_nobody_outside_is_in_a_training_set():
    member = cells.halves_beside(5)(3, 8, 25)
    np.testing.assert_array_equal(member[:, :20], design.complementary_halves(3, 8, 20))
    assert not member[:, 20:].any()


def test_a_row_is_made_anew_only_for_other_settings(tmp_path):
    flags = benchmark.Flags(results=tmp_path, references=(4, 8))
    file = tmp_path / "attacks.jsonl"
    for references in (8, 4, 8):
        own = benchmark.settings(flags, "wine", "trees", references)
        benchmark.keep(file, own | {"asked_of": list(flags.attacks)})
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [r["references"] for r in lines] == [4, 8]
    assert benchmark.missing(flags, file, "wine", "trees") == []
    assert benchmark.missing(flags, file, "wine", "networks") == [4, 8]
    fewer = benchmark.Flags(results=tmp_path, references=(4, 8), examples=100)
    assert benchmark.missing(fewer, file, "wine", "trees") == [4, 8]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--sets", "rings"], "'rings' is not one of wine"),
        (["--kinds", "forests"], "'forests' is not one of networks, trees"),
        (["--references", "5"], "even numbers"),
        (["--examples", "3"], "--examples: 3 must be 40 or more"),
        (["--sets", "cifar10"], "cifar10 needs its file"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(flags, why):
    options = terminal.parsed(benchmark.Flags, flags)
    with pytest.raises(ValueError, match=why):
        benchmark.main(options)


@pytest.mark.soak
def test_cells_are_done_once(tmp_path, capsys):
    flags = benchmark.Flags(
        ("wine",), references=(2, 4), rounds=3, draws=20, out=tmp_path / "runs", results=tmp_path,
        quiet=True,
    )  # fmt: skip
    benchmark.main(flags)
    file = tmp_path / "attacks.jsonl"
    first = file.read_text()
    lines = [json.loads(line) for line in first.splitlines()]
    assert [(r["kind"], r["references"], r["targets"]) for r in lines] == [
        ("networks", 2, 4), ("networks", 4, 6), ("trees", 2, 4), ("trees", 4, 6)
    ]  # fmt: skip
    assert set(lines[1]["attacks"]) == set(lines[3]["attacks"]) == set(cells.EVERY)
    assert set(lines[1]["indicators"]["precision"]) == {"final_loss", "loss_iqr"}
    assert set(lines[3]["indicators"]["precision"]) == {"final_loss"}
    benchmark.main(flags)
    assert file.read_text() == first


def test_an_attack_that_older_cells_were_not_asked_for_is_left_out(monkeypatch):
    """It is no attack that could score nothing, which counts as nothing."""

    def row(name, asked_of):
        figures = {a: {"auc": [0.6, 0.5, 0.7], "tpr": {"0.001": [0.1, 0.0, 0.2]}} for a in asked_of}
        about = {"set": name, "kind": "trees", "models": 6, "rounds": 2, "targets": 6}
        attacks = {a: f for a, f in figures.items() if a != "correctness"}
        return about | {"references": 4, "asked_of": asked_of, "attacks": attacks}

    both = [row("wine", ["base", "correctness"]), row("digits", ["base", "correctness", "lira_x"])]
    monkeypatch.setattr(page, "_rows", lambda: both)
    text = page.medians("auc")
    assert "`base` | 0.600" in text
    assert "lira_x" not in text
    monkeypatch.setattr(page, "_rows", lambda: both[1:])
    assert "`lira_x` | 0.600" in page.medians("auc")
