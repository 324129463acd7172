"""A document to sign: HTML and PDF from one tree of texts, made from a decision and its run."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from jaxmia.evaluation.policy import FIGURES, Decision, Policy, Verdict
from jaxmia.report.frame import environment, frame
from jaxmia.storage.files import write_bytes, write_json

WORDS = {
    "pass": "Pass: every figure is within the limits, by the upper end of its interval.",
    "review": "Review: some figure is above its first limit; somebody has to decide.",
    "refuse": "Refuse: some figure is above its last limit, or cannot be vouched for.",
}
WORST = 10  # records that are named, by their number alone


def write(
    folder: Path,
    policy: Policy,
    decision: Decision,
    summary: dict[str, Any],
    worst: list[tuple[int, int, int]],
    digests: dict[str, str],
) -> list[Path]:
    """Writes `attestation.html`, `.pdf` and `.json`; raises `ValueError` without Typst.

    `worst` are records with the models that they are found in and those trained on them; `digests`
    are sha256 of the run's files.
    """
    content = contents(policy, decision, summary, worst, digests)
    pdf = _pdf(content)
    html = environment().get_template("attestation.html").render(**frame(""), **content)
    files = [folder / f"attestation.{ending}" for ending in ("html", "pdf", "json")]
    write_bytes(files[0], html.encode())
    write_bytes(files[1], pdf)
    write_json(files[2], content)
    return files


def contents(
    policy: Policy,
    decision: Decision,
    summary: dict[str, Any],
    worst: list[tuple[int, int, int]],
    digests: dict[str, str],
) -> dict[str, Any]:
    """All texts of the document, as JSON holds them."""
    about = summary.get("experiment") or {}
    versions = about.get("versions") or {}
    structure = (summary.get("structure") or {}).get("checks", {})
    return {
        "decision": decision.decision,
        "words": WORDS[decision.decision],
        "question": policy.question,
        "chosen": f"{policy.by}, on {policy.chosen_on}, before the run",
        "asked": f"at least {policy.models} models; attacks {', '.join(policy.attacks)}",
        "attacked": str(summary["attacked"]),
        "adversary": str((summary.get("adversary") or {}).get("states", "not stated")),
        "trained": str(about.get("recipe", "not stated"))[:600],
        "reasons": decision.reasons,
        "limits": [_row(v) for v in decision.verdicts],
        "groups": [of["states"] for of in summary.get("groups", {}).values()],
        "structure": [check["states"] for check in structure.values()],
        "worst": [f"{i} ({hits} of {models})" for i, hits, models in worst[:WORST]],
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()) or "not stated",
        "digests": [f"{name}: {digest}" for name, digest in digests.items()],
        "policy": policy.digest,
        "command": str(summary.get("command", "the call that made the run, again")),
    }


def _row(verdict: Verdict) -> dict[str, str]:
    whole = verdict.limit.figure.startswith("structure")
    style = "{:,.0f}" if whole else "{:.3f}" if "." not in verdict.limit.figure else "{:.2%}"
    value, ends = verdict.value, verdict.interval
    text = "not there" if value is None else style.format(value)
    if ends is not None and not whole:
        text += f" ({style.format(ends[0])} to {style.format(ends[1])})"
    return {
        "figure": FIGURES[verdict.limit.figure],
        "limits": f"{style.format(verdict.limit.review)} / {style.format(verdict.limit.refuse)}",
        "result": text,
        "attack": verdict.attack,
        "decision": verdict.decision,
        "reason": verdict.reason,
    }


def _pdf(content: dict[str, Any]) -> bytes:
    try:
        import typst
    except ImportError as error:
        raise ValueError("Typst makes the PDF: pip install 'jaxmia[attest]' adds it") from error
    template = resources.files("jaxmia.report").joinpath("attestation.typ").read_bytes()
    return typst.compile(template, sys_inputs={"content": json.dumps(content)})
