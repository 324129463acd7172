"""Any signals, degenerate ones above all: no traceback, and no number but that of plain loops."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import plain
import pytest

from jaxmia import design
from jaxmia.attacks import ATTACKS, attack_every_model, attack_targets, networks
from jaxmia.attacks.references import leave_out
from jaxmia.command.inputs import Score
from jaxmia.command.score import score
from jaxmia.evaluation.figures import LEVELS
from jaxmia.report import write as writing
from jaxmia.types import Signals

DESIGNS = (design.complementary_halves, design.poisson(0.5), design.balanced_columns(0.5))
PHI_ALONE = [name for name, attack in ATTACKS.items() if attack.needs == ("phi",)]
ORACLES = {
    "lira_online": ("online", "global"), "lira_offline": ("offline", "global"),  # of few models
    "lira_online_global_variance": ("online", "global"),
    "lira_offline_global_variance": ("offline", "global"),
    "lira_online_per_example_variance": ("online", "per_example"),
    "lira_offline_per_example_variance": ("offline", "per_example"),
}  # fmt: skip


def drawn_membership(rng):
    """Of 2 to 6 models and 2 to 20 examples; sometimes with one side alone."""
    models, examples = int(rng.choice([2, 3, 4, 6])), int(rng.choice([2, 3, 5, 20]))
    kind = rng.integers(3)
    models += models % 2 if kind != 1 else 0
    member = np.array(DESIGNS[kind](int(rng.integers(1 << 20)), models, examples), bool)
    if rng.random() < 0.2:
        member[:, rng.integers(examples)] = rng.random() < 0.5
    if rng.random() < 0.05:
        member[:] = rng.random() < 0.5
    return member


def spoiled(rng, phi):
    """Up to three faults or extremes, one upon the other."""
    phi = phi.copy()
    for _ in range(rng.integers(4)):
        some = rng.random(phi.shape) < 0.2
        match rng.integers(10):
            case 0:
                phi[:] = rng.choice([0, 13.8, -1e6])
            case 1:
                phi[rng.integers(len(phi))] = np.nan
            case 2:
                phi[:, rng.integers(phi.shape[1])] = rng.choice([np.nan, np.inf, 7])
            case 3 | 4 | 5 as kind:
                phi[some] = (np.nan, np.inf, -np.inf)[kind - 3]
            case 6:
                phi[:] = np.sign(phi)
            case 7:
                phi *= rng.choice([1e-30, 1e4, 1e30])
            case 8:
                phi[:] = np.round(phi)
            case 9:
                phi[some] = rng.choice([1e38, -3e38, 6e4])
    return phi


def arrays(rng):
    """phi [M, N] or [M, N, Q], in some type, and the membership."""
    member = drawn_membership(rng)
    queries = int(rng.choice([1, 1, 3]))
    phi = rng.normal(size=(*member.shape, queries)) + member[..., None] + rng.normal(size=queries)
    with np.errstate(over="ignore"):
        phi = spoiled(rng, phi).astype(rng.choice(["f2", "f4", "f8"]))
    return (phi[..., 0] if queries == 1 and rng.random() < 0.7 else phi), member


def saved(folder, **files):
    for name, array in files.items():
        np.save(folder / f"{name}.npy", array)
    return {name: folder / f"{name}.npy" for name in files}


def scores_of(out):
    with np.load(out / "scores.npz") as archive:
        scores = {name: archive[name] for name in archive.files}
    return scores, scores.pop("member", None)


def check_figures(summary, out):
    """AUC and rates of the summary are those of the scores that lie beside it."""
    scores, member = scores_of(out)
    assert member is not None and json.loads((out / "summary.json").read_text()) == summary
    for name, of in summary["attacks"].items():
        whole = ~np.isnan(scores[name])
        assert of["not_scorable"] == (~whole).sum() == sum(
            of.get("not_scorable_because", {}).values()), name  # fmt: skip
        if of["auc"] is None:
            assert not (member[whole].any() and (~member[whole]).any()), name
            continue
        off = of.get("rounding", 0) + 1e-12
        assert abs(of["auc"] - plain.auc(scores[name], member)) <= off, name
        for key, level in LEVELS.items():
            exact = plain.tpr_at_fpr(scores[name], member, level)
            if "rounding" not in of and of["tpr_at_fpr"][key] is not None:  # of few non-members
                assert of["tpr_at_fpr"][key] == pytest.approx(exact, abs=1e-12), (name, key)


def check_scores(scores, target, phi, member, away):
    """Scores [T, N] of targets, by the references that are not `away(t)`, are those of loops."""
    target, phi = (a.reshape(*a.shape[:2], -1) for a in (target, phi))
    target, phi = plain.as_answers(target, phi)
    view0 = target[..., :1], phi[..., :1]
    for t in range(len(target)):
        want = {"global_threshold": (target[t, :, 0], True)}
        base = plain.log_ratio(view0[0][t, :, 0], view0[1][..., 0], member, away(t), "all", 0.0)
        want["base"] = base, True
        for mode in ("online", "offline"):
            want[f"rmia_{mode}"] = plain.rmia(target[t], phi, member, away(t), mode)
        for name, options in ORACLES.items():
            want[name] = plain.lira(target[t], phi, member, away(t), *options)
        stays = np.repeat(~np.isin(np.arange(len(phi)), list(away(t)))[:, None], phi.shape[1], 1)
        want["proxy_global"] = plain.proxy(
            target[t], phi, member, stays, lambda j: np.delete(np.arange(phi.shape[1]), j)
        )
        for name, (value, sound) in ((k, v) for k, v in want.items() if k in scores):
            own = np.asarray(scores[name][t], np.float64)
            np.testing.assert_array_equal(np.isnan(own), np.isnan(value), err_msg=name)
            at = np.broadcast_to(sound, own.shape) & ~np.isnan(own)
            np.testing.assert_allclose(own[at], value[at], rtol=2e-4, atol=1e-6, err_msg=name)


def of_phi(rng, folder):
    """phi as a file, in memory and streamed: every model attacked, or some given targets."""
    phi, member = arrays(rng)
    targets = int(rng.integers(0, 3)) if len(phi) > 4 else 0
    files = saved(folder, signals=phi[targets:], member=member[targets:])
    if targets:
        files |= saved(folder, target=phi[:targets], target_member=member[:targets])
    names = tuple(rng.choice(PHI_ALONE, 6, replace=False).tolist())
    curve = bool(rng.random() < 0.2)
    summary = score(Score(folder / "never", attacks=names, stream="never", curve=curve, **files))
    check_figures(summary, folder / "never")
    scores, _ = scores_of(folder / "never")
    leaves = leave_out(member)
    if targets:
        check_scores(scores, phi[:targets], phi[targets:], member[targets:], lambda t: ())
    elif leaves.kind != "opposite":  # there a draw decides who leaves
        check_scores(scores, phi, phi, member, lambda t: set(leaves.excluded[t].tolist()))
    able = tuple(name for name in names if ATTACKS[name].panels is not None)
    if not able:
        return
    streamed = score(Score(folder / "always", attacks=able, stream="always", **files))
    check_figures(streamed, folder / "always")
    for name, from_disk in scores_of(folder / "always")[0].items():
        want = np.clip(scores[name], -plain.LARGEST, plain.LARGEST)
        np.testing.assert_allclose(from_disk, want, rtol=1e-5, atol=1e-6, err_msg=name)
    assert streamed.get("notes") == summary.get("notes")
    assert streamed.get("warnings") == summary.get("warnings")


def of_logits(rng, folder):
    """Logits with labels, and what was seen inside of models: every attack that takes them."""
    member = drawn_membership(rng)
    models, examples = member.shape
    classes = int(rng.choice([1, 2, 5]))
    y = rng.integers(max(2, classes), size=examples)
    y = np.zeros_like(y) if rng.random() < 0.3 else y
    z = 3 * rng.normal(size=(models, examples, classes))
    z = spoiled(rng, z).astype(rng.choice(["f4", "f8"]))
    inside = {
        "gradient_norms": np.abs(spoiled(rng, rng.normal(size=(models, examples, 3)))),
        "activations": spoiled(rng, rng.normal(size=(models, examples, 4))),
        "trajectory": spoiled(rng, rng.normal(size=(models, examples, 5))),
    }
    there = {"phi", "y", "margin", "entropy", "modified_entropy", "logits", "population",
             "gradient", "activations", "trajectory"}  # fmt: skip
    names = tuple(
        name for name, attack in ATTACKS.items()
        if there.issuperset(attack.needs) and (not attack.trains or rng.random() < 0.2)
    )  # fmt: skip
    if "activations" not in names:
        names += ("activations",)
    files = saved(folder, logits=z, labels=y, member=member, **inside,
                  population=spoiled(rng, rng.normal(size=(models, 7))))  # fmt: skip
    summary = score(Score(folder / "out", attacks=names, **files))
    check_figures(summary, folder / "out")


def shares(rng):
    """What only an experiment has: shares of copies that keep their label, and what is expected."""
    member = drawn_membership(rng)
    phi = spoiled(rng, rng.normal(size=(*member.shape, 1)))
    copies = int(rng.choice([1, 9]))
    share = rng.integers(copies + 1, size=member.shape) / copies
    share[rng.random(share.shape) < 0.1] = np.nan
    expected = np.stack([rng.normal(size=member.shape), 0.1 + rng.random(member.shape)], -1)
    expected[rng.random(member.shape) < 0.1] = np.nan
    return Signals(phi, robustness=share, expected=expected), member


def test_any_shares_and_expectations():
    names = ["label_only", "quantile_regression"]
    for seed in range(100):
        s, member = shares(np.random.default_rng(seed))
        (phi,) = plain.as_answers(s.phi)
        scores = attack_every_model(s, member, names)
        for m, j in np.ndindex(member.shape):
            mean, scale = s.expected[m, j]
            assert np.array_equal(scores["label_only"][m, j], s.robustness[m, j], equal_nan=True)
            want = (phi[m, j, 0] - mean) / scale
            np.testing.assert_allclose(scores["quantile_regression"][m, j], want, rtol=1e-12)
        for name in names:
            targets = [s.models(m) for m in range(len(member))]
            again = attack_targets(targets, s, member, [name])[name]
            np.testing.assert_array_equal(again, scores[name])


@pytest.fixture
def plainly(monkeypatch, as_users_run):
    """Without the drawing, which other tests look at, and with networks that hardly learn."""
    for name in ("report", "report_from_disk"):
        monkeypatch.setattr(writing, name, lambda *args: [])
    monkeypatch.setattr(networks, "STEPS", 3)


def check(cases, folder: Path, first, runs):
    ends = Counter()
    for seed in range(first, first + runs):
        place = folder / str(seed)
        place.mkdir()
        try:
            cases(np.random.default_rng(seed), place)
            ends["scored"] += 1
        except ValueError as error:
            assert str(error).startswith("--") and "\n" not in str(error), (seed, error)
            ends["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{cases.__name__}, seed {seed}") from error
    assert ends["scored"] > runs / 2, ends


@pytest.mark.parametrize("first", [0, pytest.param(20, marks=pytest.mark.soak)])
def test_any_phi(plainly, tmp_path, first):
    check(of_phi, tmp_path, first, 8)


def test_any_logits(plainly, tmp_path):
    check(of_logits, tmp_path, 0, 1)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(1000, 4000, 500))
def test_thousands_of_phi(plainly, tmp_path, first):
    check(of_phi, tmp_path, first, 500)


@pytest.mark.soak
def test_hundreds_of_logits(plainly, tmp_path):
    check(of_logits, tmp_path, 1000, 300)
