"""What holds for every score where membership means nothing."""

import numpy as np

from jaxmia import metrics


def check_null(score, member):
    """AUC 1/2, and TPR = FPR at 1 % and 0.1 %, within five standard deviations of one target.

    Pooled targets share their examples, so more of them are not more independent trials.
    """
    keep = ~np.isnan(score)
    n, k = (keep & ~member).sum() / len(member), (keep & member).sum() / len(member)
    assert abs(metrics.auc(score, member) - 0.5) < 5 * np.sqrt((n + k + 1) / (12.0 * n * k))
    for alpha in (1e-2, 1e-3):
        rate = metrics.tpr_at_fpr(score, member, alpha)
        slack = 5 * np.sqrt(alpha * (1 / n + 1 / k)) + 1 / n
        assert abs(rate - alpha) < slack, (alpha, rate, slack)
