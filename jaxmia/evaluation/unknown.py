"""What of the signals is infinite or not known, and the notes that a summary owes its readers."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia.attacks.infinite import Extremes
from jaxmia.types import SIGNALS, Attack, Signals

LEVEL = 1e-3  # of the one-sided exact test that NaN are commoner among members


class Unknown(NamedTuple):
    """By model, how many of its members and of its non-members there are, and how many are NaN."""

    total: Int[np.ndarray, "T 2"]
    nan: Int[np.ndarray, "T 2"]

    @property
    def diverged(self) -> list[int]:
        """The models of which nothing is known."""
        return np.flatnonzero((self.total == self.nan).all(1)).tolist()


def unknown(phi: Float[np.ndarray, "T n Q"], member: Bool[np.ndarray, "T n"]) -> Unknown:
    """Counts of examples of which some query is NaN; those of all panels add up."""
    nan = np.isnan(phi).any(-1)
    sides = member, ~member
    return Unknown(
        np.stack([s.sum(1) for s in sides], 1), np.stack([(s & nan).sum(1) for s in sides], 1)
    )


class NotScorable(NamedTuple):
    """Scores that cannot be given, by reason; those of several targets add up.

    A model of which nothing is known has `diverged`; signals of others are `nan`; for the rest
    there are too few `references` that were trained on the example, or that were not.
    """

    diverged: int = 0
    nan: int = 0
    references: int = 0

    def __add__(self, other: "NotScorable") -> "NotScorable":  # type: ignore[override]
        return NotScorable(*(a + b for a, b in zip(self, other, strict=True)))

    def in_summary(self) -> dict[str, Any]:
        """The field of an attack; nothing where all scores can be given."""
        counts = {name: count for name, count in self._asdict().items() if count}
        return {"not_scorable_because": counts} if counts else {}


def reasons(score: Float[np.ndarray, "T N"], nan: Bool[np.ndarray, "T N"]) -> NotScorable:
    """Why scores are NaN, given which of the targets' own signals are."""
    away = np.isnan(score)
    away_by_nan, whole = away & nan, nan.all(1)
    diverged = int(away_by_nan[whole].sum())
    own = int(away_by_nan.sum()) - diverged
    return NotScorable(diverged, own, int(away.sum()) - diverged - own)


def own_nan(attack: Attack, signals: Signals) -> Bool[np.ndarray, "*M N"]:
    """Which examples lack some signal that the attack looks at."""
    phi = np.asarray(signals.phi)
    nan = np.isnan(phi[..., 0]) if _at_view0(attack) else np.isnan(phi).any(-1)
    for name in set(attack.needs) - {"phi", "population"}:
        value, axes = np.asarray(getattr(signals, name)), SIGNALS[name].axes
        if axes[0] == "M" and value.dtype.kind == "f":
            nan = nan | np.isnan(value).any(-1) if len(axes) > 2 else nan | np.isnan(value)
    return nan


def _at_view0(attack: Attack) -> bool:
    return attack.panels is not None and attack.panels.view0


def in_summary(infinite: Extremes, of: Unknown, of_attacked: Unknown | None) -> dict[str, Any]:
    """The fields of a summary: of the references' signals, and notes on those attacked."""
    nan, lines = int(of.nan.sum()), notes(infinite, of_attacked)
    fields: dict[str, Any] = {"not_finite": nan} if nan else {}
    return fields | {"diverged": of.diverged} | ({"notes": lines} if lines else {})


def notes(infinite: Extremes, of_attacked: Unknown | None) -> list[str]:
    """Sentences, the gravest first; none where all signals are finite."""
    out = []
    if of_attacked is not None and (line := _selected(of_attacked)):
        out.append(line)
    if bounds := infinite.bounds:
        out.append(
            f"{infinite.infinite} signals are infinite (a probability of exactly 0 or 1): taken as "
            f"{bounds.low:.4g} and {bounds.high:.4g}, beyond all others"
        )
    return out


def _selected(of: Unknown) -> str | None:
    """Whether what is not known is membership itself; models of which nothing is, do not count."""
    some = np.setdiff1d(np.arange(len(of.total)), of.diverged)
    (members, others), (in_nan, out_nan) = (a[some].sum(0).tolist() for a in (of.total, of.nan))
    nan = in_nan + out_nan
    if not nan:
        return None
    from scipy.stats import hypergeom  # half a second

    if hypergeom.sf(in_nan - 1, members + others, members, nan) > LEVEL:
        return None
    return (
        f"warning: signals are NaN for {in_nan} of {members} members and {out_nan} of {others} "
        "non-members: what is left out tells membership, and no figure here counts it"
    )
