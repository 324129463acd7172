"""A study's rows are those that its page is made of."""

import json

from experiments import rows


def check_page(page, name, folder, monkeypatch):
    """Every part of a page can be made of a study's rows, which say by which command they are."""
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").open()]
    assert all(f"python -m experiments.studies.{name} " in line["command"] for line in lines)
    monkeypatch.setattr(rows, "RESULTS", folder)
    assert all(part() for part in page.PARTS.values())
