"""Who watches a federation's updates: by clients, width and participation."""

from experiments import rows
from experiments.pages import words
from experiments.pages.words import Row

HEADS = {
    "global_threshold": "loss of the server's model",
    "cosine": "cosine",
    "gradient_difference": "difference",
    "cosine_lira_online_global_variance": "cosine, LiRA",
    "gradient_difference_lira_online_global_variance": "difference, LiRA",
}
FIELDS = {
    "clients": "{} clients", "width": "2 × {} units", "participation": "{} of the clients a round"
}  # fmt: skip


def _settings() -> dict[tuple[str, float], dict[str, Row]]:
    """By what is varied and its value: the rows of every attack."""
    out: dict[tuple[str, float], dict[str, Row]] = {}
    for row in rows.read("federated"):
        out.setdefault((row["varied"], row["value"]), {})[row["attack"]] = row
    return out


def table(figure: str) -> str:
    """A line for each setting: one figure of every attack, with its interval."""
    body = [
        (FIELDS[field].format(f"{value:g}"), *(_cell(own[a], figure) for a in HEADS))
        for (field, value), own in _settings().items()
    ]
    return words.table(("", *HEADS.values()), body)


def _cell(row: Row, figure: str) -> str:
    if figure == "auc":
        low, high = row["auc_interval"]
        return f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]"
    return words.span(row["tpr_at_0.001"], row["tpr_interval"])


def about() -> str:
    """How much the tables rest on."""
    lines = rows.read("federated")
    row = lines[0]
    return (
        f"{row['federations']} federations, each attacked with the others as shadows, "
        f"{row['rounds']} rounds; n = {words.count(row['members'])} member and "
        f"{words.count(row['non_members'])} non-member scores; 95 % BCa intervals over "
        f"{words.count(row['examples'])} examples. {words.measured(lines)}"
    )


def claims() -> str:
    """What clients, width and LiRA do."""
    own = _settings()
    widths = sorted(v for f, v in own if f == "width")
    clients = sorted(v for f, v in own if f == "clients")

    def chain(field: str, values: list[float], attack: str, figure: str) -> str:
        cells = [_cell(own[field, v][attack], figure) for v in values]
        return " → ".join(cells)

    lira = "gradient_difference_lira_online_global_variance"
    middle = own["clients", 16.0 if ("clients", 16.0) in own else clients[len(clients) // 2]]
    names = " → ".join(f"{w:g}" for w in widths)
    people = " → ".join(f"{c:g}" for c in clients)
    first = middle["gradient_difference"]
    out = [
        f"- **Width** ({names}): the cosine's AUC is "
        f"{chain('width', widths, 'cosine', 'auc')}, while the difference with LiRA finds "
        f"{chain('width', widths, lira, 'tpr')} in the tail.",
        f"- **LiRA** on shadow federations takes the difference from {_cell(first, 'tpr')} to "
        f"{_cell(middle[lira], 'tpr')} at 0.1 % FPR, and its AUC from {_cell(first, 'auc')} to "
        f"{_cell(middle[lira], 'auc')}.",
    ]
    if len(clients) > 1:
        out.append(
            f"- **Clients** ({people}): the cosine's AUC is "
            f"{chain('clients', clients, 'cosine', 'auc')}, its TPR "
            f"{chain('clients', clients, 'cosine', 'tpr')}."
        )
    return "\n".join(out)


PARTS = {
    "auc": lambda: table("auc"),
    "tpr": lambda: table("tpr"),
    "about": about,
    "claims": claims,
}
