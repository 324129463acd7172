"""The finite pool: a toy with a computable truth, pools of three sizes, the digits corrected."""

from collections.abc import Sequence

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

HEADS = ("AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR")
MISSING = "*Not measured by this version.*"
DATA = {"fresh": "fresh data: the truth", "pool": "samples of one pool", "corrected": "corrected"}


def _of(part: str) -> list[Row]:
    return [row for row in rows.read("finite_pool") if row["part"] == part]


def _table(heads: tuple[str, ...], lines: Sequence[Sequence[str]]) -> str:
    return words.table(heads, lines) if lines else MISSING


def _figures(of: Row) -> list[str]:
    rates = of["tpr_at_fpr"]
    return [f"{of['auc']:.3f}", *(words.percent(rates[k]) for k in ("0.01", "0.001"))]


def toy() -> str:
    """Samples of a pool, corrected, against fresh data."""
    lines = [
        (f"{row['noise']:g}", DATA[case], *_figures(of))
        for row in _of("toy")
        for case, of in row["cases"].items()
    ]
    return _table(("training noise over data variance", "", *HEADS), lines)


def pools() -> str:
    """The same queries asked of models of pools of three sizes."""
    lines = []
    for row in _of("small_pool"):
        first = next(iter(row["variance_in_out"].values()))
        for case, of in row["cases"].items():
            ratios = [
                f"{v / w:.2f}"
                for v, w in zip(row["variance_in_out"].get(case, ()), first, strict=False)
            ]
            lines.append((case, *(ratios or ("", "")), *_figures(of)))
    return _table(("", "variance of φ IN", "OUT", *HEADS), lines)


def attacks() -> str:
    """The digits' attacks with the pool and without it."""
    heads = ("", "AUC", "without the pool", "TPR at 0.1 % FPR", "without the pool")
    lines = []
    for row in _of("digits"):
        for name, fresh in row["corrected"].items():
            pool, ends = row["pool"][name], fresh["intervals"]
            lines.append(
                (
                    f"`{name}`",
                    f"{pool['auc']:.3f}",
                    "{:.3f} [{:.3f}, {:.3f}]".format(fresh["auc"], *ends["auc"]),
                    words.percent(pool["tpr_at_fpr"]["0.001"]),
                    words.span(fresh["tpr_at_fpr"]["0.001"], ends["tpr_at_fpr"]["0.001"]),
                )
            )
    return _table(heads, lines)


def claims() -> str:
    """What the digits' repeats say."""
    lines = []
    for row in _of("digits"):
        f, by = (row["f_in"], row["f_out"]), row["by_p_value"]
        fewer = "; ".join(
            f"{k} sets would have said {a:.2f} and {b:.2f}"
            for k, (a, b) in row["f_by_fewer_sets"].items()
        )
        lines += [
            f"- Of the variance of φ, {words.percent(f[0], 0)} with an example and "
            f"{words.percent(f[1], 0)} without it are due to the other records, by "
            f"{row['repeat_sets']} sets trained on twice" + (f" ({fewer})." if fewer else "."),
            f"- If nobody may be accused wrongly more often than once in 1,000 (LiRA offline's "
            f"p-values below 0.001), {words.percent(by['pool']['tpr'])} of the members are found "
            f"with the pool, at {words.percent(by['pool']['fpr'])} of the others, and "
            f"{words.percent(by['corrected']['tpr'])} without it, at "
            f"{words.percent(by['corrected']['fpr'])}.",
        ]
    return "\n".join(lines) or MISSING


def about() -> str:
    """How much the tables rest on."""
    parts = []
    for row in _of("toy")[:1]:
        parts.append(f"Toy: {row['draws']} draws of {row['models']} models.")
    for row in _of("small_pool"):
        parts.append(
            f"Pools: {row['queries']} queries, {row['members']} members, {row['targets']} targets, "
            f"{row['references'][0]} references on each side, {row['draws']} draws of them."
        )
    for row in _of("digits"):
        parts.append(f"Digits: {row['models']} models, {row['repeat_sets']} of them twice.")
    return " ".join((*parts, words.measured(rows.read("finite_pool")[-1:])))


PARTS = {"toy": toy, "pools": pools, "attacks": attacks, "claims": claims, "about": about}
