"""The page that a run leaves: one file with everything in it, no script, no network."""

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmia import metrics
from jaxmia.report.summary import LEVELS
from jaxmia.report.table import remarks

EXPOSED = 20  # examples that are named
FIGURES = {
    "roc": "True-positive rate against false-positive rate of every attack, both logarithmic; "
    "the figures stand in the table below.",
    "phi": "Histograms of phi, the logit of the true class's probability, of members and others.",
    "curve": "True-positive rate at 0.1 % false-positive rate, and AUC, against the number of "
    "reference models.",
    "power": "AUC and true-positive rate at 0.1 % false-positive rate against the number of SNPs "
    "per person of the pool, with what theory expects.",
}


class Exposed(NamedTuple):
    """An example, and in how many of the models that were trained on it the attack finds it."""

    example: int
    label: int | None
    found: int
    models: int


def page(
    folder: Path,
    scores: dict[str, Float[np.ndarray, "T N"]],
    member: Bool[np.ndarray, "T N"],
    summary: dict[str, Any],
    y: Int[np.ndarray, " N"] | None = None,
) -> str:
    """The page of a folder whose figures are drawn already, as HTML."""
    import jinja2

    from jaxmia.report import template

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    lead = _lead(summary["attacks"])
    rows, share = ([], None) if lead is None else exposed(scores[lead], member, y)
    about = summary.get("experiment") or {}
    return environment.from_string(template.PAGE).render(
        title=_short(str(about.get("name", "membership inference"))),
        lead=lead,
        attacks=dict(sorted(summary["attacks"].items(), key=_strength)),
        levels=list(LEVELS),
        attacked=summary.get("attacked")
        or f"each of {summary['models']} models in turn, by the others trained the same way",
        summary=summary,
        remarks=[_plain(line) for line in remarks(summary)],
        figures=[(n, alt, _embedded(folder / f"{n}.svg")) for n, alt in FIGURES.items()],
        exposed=rows,
        share=share,
        details=json.dumps(about, indent=1, ensure_ascii=False),
        percent=_percent,
        short=_short,
    )


def _lead(attacks: dict[str, Any]) -> str | None:
    """The attack that finds most at 0.1 % FPR."""
    scored = [name for name, found in attacks.items() if found["tpr_at_fpr"]]
    return max(scored, key=lambda n: attacks[n]["tpr_at_fpr"]["0.001"], default=None)


def _strength(item: tuple[str, dict[str, Any]]) -> tuple[float, float]:
    """Strongest first: by TPR at 0.1 % FPR, then by AUC."""
    found = item[1]
    return (-found["tpr_at_fpr"]["0.001"], -found["auc"]) if found["tpr_at_fpr"] else (1.0, 0.0)


def exposed(
    score: Float[np.ndarray, "T N"],
    member: Bool[np.ndarray, "T N"],
    y: Int[np.ndarray, " N"] | None = None,
) -> tuple[list[Exposed], float]:
    """The examples found in the largest share of their models, at the threshold of 0.1 % FPR.

    Also the share of all examples that half of all finds fall on.
    """
    cut = metrics.threshold_at_fpr(score, member, 1e-3)
    with np.errstate(invalid="ignore"):
        found = ((score >= cut) & member).sum(0)
    models = (member & ~np.isnan(score)).sum(0)
    rate = found / np.maximum(models, 1)
    order = np.lexsort((np.arange(len(rate)), -found, -rate))[:EXPOSED]
    rows = [
        Exposed(int(i), None if y is None else int(y[i]), int(found[i]), int(models[i]))
        for i in order
        if found[i]
    ]
    finds = np.sort(found)[::-1].cumsum()
    half = int(np.searchsorted(finds, finds[-1] / 2)) + 1 if finds[-1] else 0
    return rows, half / len(found)


def _embedded(file: Path) -> str | None:
    if not file.is_file():
        return None
    return "data:image/svg+xml;base64," + base64.b64encode(file.read_bytes()).decode()


def _percent(value: float | None, places: int = 2) -> str:
    return "–" if value is None else f"{100 * value:.{places}f} %"


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


def _plain(line: str) -> str:
    """A remark without the marks of the terminal."""
    return line.replace("\\[", "[")
