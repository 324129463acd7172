"""Ten thousand models in one folder, killed on the way: docs/clusters.md."""

from experiments import rows
from experiments.pages import words


def table() -> str:
    """What it took."""
    (row,) = rows.read("many_models")
    whole, signals = row["run"], row["signals"]
    lines = (
        ("models, kills while they were trained", f"{_count(row['models'])}, {row['kills']}"),
        ("all starts together, with the report", f"{words.number(row['seconds'] / 60)} min"),
        ("the last of them", f"{words.number(row['seconds_of_last_start'] / 60)} min"),
        ("training and asking, models/h", _count(round(row["models_per_hour"]))),
        ("highest resident memory", f"{row['peak_resident_gib']:.2f} GiB"),
        ("blocks", f"{row['blocks']} of {row['block']}"),
        ("files, of them signals", f"{_count(whole['files'])}, {_count(signals['files'])}"),
        ("bytes, of them signals", f"{_mb(whole)}, {_mb(signals)}"),
        ("lost or mended on resuming", _lines(row["lost"])),
        ("rows that are not what their digests say", _lines(row["broken"])),
        (
            "phi, margins and membership of the first models, against a run that was not killed",
            _bits(row),
        ),
    )
    return words.table(("", ""), lines)


def _count(number: int) -> str:
    return words.count(number)


def _mb(size: dict[str, int]) -> str:
    return f"{words.count(round(size['bytes'] / 1e6))} MB"


def _lines(lines: list[str]) -> str:
    return "nothing" if not lines else f"{len(lines)}: {lines[0]}"


def _bits(row: words.Row) -> str:
    return "the same bits" if row["same_bits_as_not_killed"] else "other bits"


def about() -> str:
    """How it was measured."""
    (row,) = rows.read("many_models")
    attacks = ", ".join(row["auc"])
    return f"Attacks: {attacks}. {words.measured([row])}"


PARTS = {"table": table, "about": about}
