"""Attacks and figures once more, from their definitions: plain loops in float64."""

import numpy as np
from scipy import stats

SURE, CERTAIN = np.log(19), np.log(999_999)
LARGEST = float(np.finfo(np.float32).max)


def auc(score, member):
    """P(member above non-member), and half of those that are equal."""
    inside, outside = score[member & ~np.isnan(score)], score[~member & ~np.isnan(score)]
    above = sum(float((a > outside).sum() + (a == outside).sum() / 2) for a in inside)
    return above / len(inside) / len(outside)


def tpr_at_fpr(score, member, fpr):
    """The best of all thresholds that keep to the FPR."""
    inside, outside = score[member & ~np.isnan(score)], score[~member & ~np.isnan(score)]
    cuts = [np.inf, *inside]
    return max((inside >= c).mean() for c in cuts if (outside >= c).mean() <= fpr)


def as_answers(*arrays):
    """What is infinite as 1/20 of the range or size beyond what is not, a logit of 0.95.

    A logit of 1 - 1e-6 where nothing is finite.
    """
    every = np.concatenate([a.astype(np.float64).ravel() for a in arrays])
    every = every[~np.isnan(every)]
    if not (np.abs(every) > LARGEST).any():
        return [a.astype(np.float64) for a in arrays]
    finite = every[np.abs(every) <= LARGEST]
    low, high = -CERTAIN, CERTAIN
    if len(finite):
        least, most = finite.min(), finite.max()
        beyond = max(most - least, abs(least), abs(most)) / 20
        low, high = min(-SURE, least - beyond), max(SURE, most + beyond)
    out = []
    for a in arrays:
        end = min(LARGEST, float(np.finfo(a.dtype).max))
        ends = [float(a.dtype.type(v)) for v in (max(low, -end), min(high, end))]
        a = a.astype(np.float64)
        a = np.where(a > LARGEST, ends[1], np.where(a < -LARGEST, ends[0], a))
        out.append(a)
    return out


def sides(phi, member, away, j):
    """phi [., Q] of the references that were trained on example j, and that were not."""
    rows = [r for r in range(len(phi)) if r not in away and not np.isnan(phi[r, j]).any()]
    return [np.array([phi[r, j] for r in rows if member[r, j] == s]) for s in (True, False)]


def lira(target, phi, member, away, mode, variance):
    """Of one target, by the rows that are not `away`; and where a deviation is no rounding."""
    N, Q = target.shape
    cells = [sides(phi, member, away, j) for j in range(N)]
    used = (0, 1) if mode == "online" else (1,)
    least = 2 if variance == "per_example" else 1
    pooled = {}
    for s in used:
        squares = sum(((c[s] - c[s].mean(0)) ** 2).sum() for c in cells if len(c[s]))
        count = sum(len(c[s]) * Q for c in cells)
        pooled[s] = squares / count if count else np.nan
    out, sound = np.full(N, np.nan), np.ones(N, bool)
    largest = max((np.abs(c[s]).max() for c in cells for s in used if len(c[s])), default=0.0)
    for j in range(N):
        if np.isnan(target[j]).any() or any(len(cells[j][s]) < least for s in used):
            continue
        of_query = []
        for q in range(Q):
            laws = {}
            for s in used:
                x = cells[j][s][:, q]
                v = x.var() if variance == "per_example" else pooled[s]
                size = largest
                if variance == "per_example":
                    size = max(np.abs(x).max(), _level(phi[:, j, q]))
                sound[j] &= bool(np.sqrt(v) > 1e-6 * (10 + size))  # beyond that digits run out
                laws[s] = stats.norm(x.mean(), max(np.sqrt(v), 1e-300))
            if not sound[j]:
                continue
            with np.errstate(all="ignore"):
                if mode == "online":
                    of_query.append(laws[0].logpdf(target[j, q]) - laws[1].logpdf(target[j, q]))
                else:
                    z = (target[j, q] - laws[1].mean()) / laws[1].std()
                    of_query.append(-stats.norm.logsf(z) if z > -37 else z + 37)
        out[j] = np.mean(of_query) if sound[j] else 0  # whatever the floor makes of it
    return out, sound


def log_ratio(target, phi, member, away, mode, a):
    """`log p_target - log Pr` of view q, as RMIA and BASE have it."""
    out = np.full(len(target), np.nan)
    for j in range(len(target)):
        inside, outside = sides(phi[..., None], member, away, j)
        of = (
            outside
            if mode == "offline"
            else np.concatenate([inside.reshape(-1, 1), outside.reshape(-1, 1)])
        )
        if np.isnan(target[j]) or not len(of):
            continue
        mean = np.mean(1 / (1 + np.exp(-np.clip(of, -700, None))))
        if mode == "offline":
            mean = ((1 + a) * mean + 1 - a) / 2
        out[j] = -np.logaddexp(0, -target[j]) - np.log(max(mean, 1e-15))
    return out


def rmia(target, phi, member, away, mode):
    """The pool itself is the population; and where no ratio is near gamma."""
    N, Q = target.shape
    total, sound = np.zeros(N), np.ones(N, bool)
    for q in range(Q):
        ratio = log_ratio(target[:, q], phi[..., q], member, away, mode, 0.3)
        others = ratio[~np.isnan(ratio)]
        for j in range(N):
            if np.isnan(ratio[j]):
                total[j] = np.nan
                continue
            beaten = sum(ratio[j] - z > np.log(2) for z in others)
            sound[j] &= not (np.abs(ratio[j] - others - np.log(2)) < 1e-7).any()
            total[j] += beaten / (len(others) - 1) / Q if len(others) > 1 else np.nan
    return total, sound


def thresholds(score, member, rule):
    """By prefixes of the sorted scores, as long as the errors in them are allowed."""
    there = [i for i in range(len(score)) if score[i] == score[i]]
    low = high = np.nan
    for cut in sorted({score[i] for i in there}):
        if sum(member[i] for i in there if score[i] <= cut) <= rule.members_below:
            low = cut
    for cut in sorted({score[i] for i in there}, reverse=True):
        if sum(not member[i] for i in there if score[i] >= cut) <= rule.non_members_above:
            high = cut
    return low, max(score[i] for i in there) if np.isnan(high) else high


def chosen_anchors(target, anchor, reference, rule):
    """One example after the other, the lowest first."""
    low, high = (
        np.nanmean(of) if np.isfinite(of).any() else np.nan for of in np.array(reference).T
    )
    free = [i for i in range(len(target)) if anchor[i] == -1 and target[i] == target[i]]
    out = [-1] * len(target)
    below = sorted((i for i in free if target[i] <= low), key=lambda i: target[i])
    below = below[: int(rule.share * len(free))]
    above = [i for i in free if target[i] >= high]
    picks = below if len(below) >= rule.least_out else above if len(above) >= rule.least_in else []
    for i in picks:
        out[i] = 0 if picks is below else 1
    return np.array(out)


def cascade(target, train, rounds, references, rule):
    """LiRA with one variance for all, partners being models 2i and 2i + 1 of a round."""
    anchor, phi, member, out = np.full(len(target), -1), [], [], []
    for number in range(1, rounds + 1):
        shadows = train(number, anchor)
        before = sum(map(len, phi))
        phi.append(np.asarray(shadows.signals.phi))
        member.append(shadows.member)
        every, inside = np.concatenate(phi), np.concatenate(member)
        score, _ = lira(target, every, inside, (), "online", "global")
        out.append((anchor, score))
        sure = []
        for r in range(len(every) - references, len(every)):
            partner = before + ((r - before) ^ 1)
            own, _ = lira(every[r], every, inside, (r, partner), "online", "global")
            sure.append(thresholds(np.where(anchor == -1, own, np.nan), inside[r], rule))
        new = chosen_anchors(score, anchor, sure, rule)
        if (new == -1).all():
            break
        anchor = np.where(anchor == -1, new, anchor)
    return out


def proxy(target, phi, member, stays, proxies):
    """Normals of the proxies' IN and the example's OUT values, about medians; and whether sound.

    `stays [R, N]` are the references of this target; `proxies(j)` whose IN law stands for j's.
    """
    N, Q = target.shape
    stays = stays & ~np.isnan(phi).any(-1)
    out, sound = np.full(N, np.nan), np.ones(N, bool)
    for j in range(N):
        inside = [phi[stays[:, z] & member[:, z], z] for z in proxies(j)]
        laws = [np.concatenate([*inside, np.empty((0, Q))]), phi[stays[:, j] & ~member[:, j], j]]
        if np.isnan(target[j]).any() or min(map(len, laws)) < 2:
            continue
        size, deviation = (np.stack([f(x, axis=0) for x in laws]) for f in (_size, np.std))
        size = np.maximum(size, _level(phi[:, j]))
        sound[j] = bool((deviation > 1e-6 * (10 + size)).all())  # beyond that digits run out
        centre, deviation = np.median(laws[0], 0), np.maximum(deviation, 1e-300)
        with np.errstate(all="ignore"):
            of_query = stats.norm.logpdf(target[j], centre, deviation[0])
            of_query -= stats.norm.logpdf(target[j], np.median(laws[1], 0), deviation[1])
        out[j] = np.mean(of_query) if sound[j] else 0
    return out, sound


def _size(x, axis):
    return np.abs(x).max(axis)


def _level(x):
    """Of all models: what the least variance goes by, so that it does not tell who is IN."""
    return np.abs(np.median(np.nan_to_num(x), axis=0))
