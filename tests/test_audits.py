"""Audits of canary scores: which bound decides, what is said of scores that tell nothing."""

import numpy as np
import pytest

from jaxmia import metrics, privacy

DELTA = 1e-5


GAUSSIAN = np.random.default_rng(9).normal(size=2000)
MEMBER = np.random.default_rng(10).random(2000) < 0.5


def test_an_audit_of_trials_decides_by_the_exact_bound():
    mu = privacy.gaussian_mu(8.0, DELTA)
    score = GAUSSIAN + mu * MEMBER
    audit = privacy.audit_trials(score, MEMBER, DELTA, 4.0)
    event = privacy.pilot(score, MEMBER).event
    assert audit.refuted and audit.decided_by == "joint" and not audit.warnings
    assert audit.deciding.mu == privacy.mu_joint(event)
    assert audit.deciding.epsilon == privacy.gaussian_epsilon(DELTA, audit.deciding.mu) > 6
    true = privacy.audit_trials(score, MEMBER, DELTA, 8.0)
    assert true.refuted is False and abs(true.ideal - 7.15) < 0.3
    assert true.deciding.most > 12
    whatever = privacy.audit_trials(score, MEMBER, DELTA, 4.0, assume="any")
    assert whatever.decided_by == "any" and not whatever.refuted and whatever.ideal is None
    assert "'joint' is above the promise, and does not decide" in whatever.warnings[0]
    assert privacy.audit_trials(score, MEMBER, DELTA).refuted is None


def test_randomised_response_keeps_its_promise_but_is_not_gaussian():
    """Why the assumption is named: what decides must hold for the mechanism that is audited."""
    right = np.random.default_rng(12).random(2000) < 1 / (1 + np.exp(-4.0))
    score = np.where(right, MEMBER, ~MEMBER).astype(float)
    assert privacy.audit_trials(score, MEMBER, DELTA, 4.0).refuted
    whatever = privacy.audit_trials(score, MEMBER, DELTA, 4.0, assume="any")
    assert whatever.refuted is False and whatever.deciding.epsilon > 3


def test_an_audit_of_one_run_decides_by_what_is_assumed():
    mu = privacy.gaussian_mu(8.0, DELTA)
    score = GAUSSIAN + mu * MEMBER
    run = privacy.guessed(score, MEMBER, 200, 200)
    audit = privacy.audit_one_run(score, MEMBER, DELTA, 4.0)
    assert audit.decided_by == "gaussian" and [b.name for b in audit.bounds] == ["any", "gaussian"]
    assert audit.deciding.epsilon == privacy.epsilon_one_run_gaussian(*run, DELTA)
    assert audit.bounds[0].epsilon == privacy.epsilon_one_run(*run, DELTA)
    own = privacy.audit_one_run(score, MEMBER, DELTA, 4.0, assume="independent")
    assert own.refuted and own.deciding.epsilon > audit.deciding.epsilon
    true = privacy.audit_one_run(score, MEMBER, DELTA, 8.0, assume="independent")
    assert true.refuted is False and abs(true.ideal - true.deciding.epsilon) < 1
    few = privacy.audit_one_run(score, MEMBER, DELTA, 4.0, guesses=10)
    assert "no outcome could refute" in few.warnings[0]
    # ideal attacks on 400 canaries with 80 guesses: 1.20 and 1.98 of epsilon = 4
    small = [
        privacy.audit_one_run(GAUSSIAN[:400], MEMBER[:400], DELTA, 4.0, assume=a)
        for a in ("any", "gaussian")
    ]
    assert abs(small[0].ideal - 1.20) < 0.1 and abs(small[1].ideal - 1.98) < 0.1


def test_unknown_scores_are_not_called():
    """What is missing may depend on membership: it must not make members look surer."""
    score = np.where(MEMBER & (GAUSSIAN < 0), np.nan, GAUSSIAN)  # of members only the sure ones
    for audit in (
        privacy.audit_trials(score, MEMBER, DELTA, 1.0),
        privacy.audit_one_run(score, MEMBER, DELTA, 1.0),
    ):
        assert audit.unknown == np.isnan(score).sum()
        assert f"{audit.unknown} scores are NaN" in audit.warnings[0]
    assert privacy.audit_trials(score, MEMBER, DELTA, 1.0).deciding.epsilon == 0
    few = np.where(np.arange(2000) < 1900, np.nan, 1.0 * MEMBER)
    run = privacy.guessed(few, MEMBER, 20, 20)
    assert run.canaries == 2000 and run.correct == 40


def test_what_scores_cannot_tell_is_said():
    same = privacy.audit_trials(np.zeros(2000), MEMBER, DELTA, 1.0)
    assert same.deciding.epsilon == 0 and "all scores are the same" in same.warnings[0]
    turned = privacy.audit_trials(-GAUSSIAN - MEMBER, MEMBER, DELTA, 1.0)
    assert turned.deciding.epsilon == 0 and "members have lower scores" in turned.warnings[0]
    few = privacy.audit_trials(np.arange(20.0), np.arange(20) % 2 > 0, DELTA, 10.0)
    assert "no outcome could refute epsilon = 10" in few.warnings[-1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: privacy.audit_trials(GAUSSIAN, MEMBER | True, DELTA), "no non-members among"),
        (lambda: privacy.audit_trials(GAUSSIAN, MEMBER & False, DELTA), "no members among"),
        (lambda: privacy.audit_trials(GAUSSIAN, np.arange(2000) < 1, DELTA), "1 trials with"),
        (lambda: privacy.audit_trials(GAUSSIAN * np.nan, MEMBER, DELTA), "all 2000 scores are NaN"),
        (lambda: privacy.audit_trials(GAUSSIAN, MEMBER, 0.0), "delta=0"),
        (lambda: privacy.audit_trials(GAUSSIAN, MEMBER, DELTA, -1.0), "epsilon=-1"),
        (lambda: privacy.audit_trials(GAUSSIAN, MEMBER, DELTA, 1.0, "independent"), "assume="),
        (lambda: privacy.audit_one_run(GAUSSIAN, MEMBER, DELTA, confidence=1.0), "confidence=1"),
        (lambda: privacy.audit_one_run(GAUSSIAN, np.arange(2000) < 1700, DELTA), "1700 of 2000"),
        (lambda: privacy.audit_one_run(GAUSSIAN, MEMBER, DELTA, guesses=3000), "inside=1500"),
        (lambda: privacy.pilot(GAUSSIAN, MEMBER, 1.0), "share=1"),
        (lambda: privacy.mu_joint(privacy.Event(3, 2, 0, 5)), "tp=3 of positives=2"),
        (lambda: privacy.mu_joint(privacy.Event(1, 2, 0, 0)), "negatives=0"),
        (lambda: privacy.mu_joint(privacy.Event(1, 2, 0, 5), 0.9995), "confidence=0.9995"),
        (lambda: privacy.mu_from_auc(GAUSSIAN, MEMBER, 0.0), "confidence=0"),
        (lambda: privacy.mu_from_auc(GAUSSIAN[:4], np.arange(4) < 1), "1 trials with"),
        (lambda: privacy.mu_one_run(9, 3, 2, channels="own"), "channels='own'"),
        (lambda: privacy.gaussian_mu(1.0, 0.0), "delta=0"),
    ],
)
def test_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_area_and_its_sd_are_those_of_its_interval():
    score = GAUSSIAN + MEMBER
    area, sd = metrics.auc_and_sd(metrics.roc_counts(score, MEMBER))
    low, high = metrics.auc_interval(score, MEMBER)
    np.testing.assert_allclose([low, high], area + 1.959964 * sd * np.array([-1, 1]), rtol=1e-6)
