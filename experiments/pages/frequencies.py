"""Pools of genomes: what released allele frequencies give away, against theory."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row


def _rows() -> tuple[list[Row], Row]:
    own = rows.read("allele_frequencies")
    return own[:-1], own[-1]


def table() -> str:
    """A line for each pool size and number of SNPs."""
    heads = (
        "pool", "SNPs", "AUC: theory", "likelihood ratio", "Homer's T", "TPR at 0.1 % FPR: theory",
        "likelihood ratio", "Homer's T",
    )  # fmt: skip
    body = []
    for row in _rows()[0]:
        cases = (row["expected"], row["attacks"]["likelihood_ratio"], row["attacks"]["homer"])
        body.append((
            str(row["people"]), words.count(row["snps"]), *(f"{c['auc']:.3f}" for c in cases),
            *(words.percent(c["tpr_at_fpr"]["0.001"]) for c in cases),
        ))  # fmt: skip
    return words.table(heads, body)


def claims() -> str:
    """The setting that the report is about, with its intervals."""
    power, last = _rows()
    size, snps = last["people"], last["snps"]
    row = next(r for r in power if (r["people"], r["snps"]) == (size, snps))
    out = []
    for name, words_of in (
        ("likelihood_ratio", "the likelihood ratio"),
        ("homer", "Homer's statistic"),
    ):
        own, ends = row["attacks"][name], last["reported"][name]
        low, high = ends["auc_interval"]
        rate = words.span(own["tpr_at_fpr"]["0.001"], ends["tpr_interval"])
        out.append(f"{words_of} has an AUC of {own['auc']:.3f} [{low:.3f}, {high:.3f}] and a "
                   f"TPR of {rate} at 0.1 % FPR")  # fmt: skip
    return (
        f"With {words.count(snps)} SNPs of a pool of {size}, {' and '.join(out)}; theory, "
        f"Φ(√(S/2n)), says {row['expected']['auc']:.3f}."
    )


def about() -> str:
    """How much the table rests on."""
    row = _rows()[1]
    own = row["reported"]["likelihood_ratio"]
    return (
        f"{row['pools']} pools drawn from {words.count(row['drawn_from'])} simulated people; "
        f"in the "
        f"sentence above n = {words.count(own['members'])} member and "
        f"{words.count(own['non_members'])} non-member scores. {words.measured([row])}"
    )


PARTS = {"table": table, "claims": claims, "about": about}
