"""What must not change unseen: identities, figures, files and options, against files in `golden/`.

`GOLDEN=write` writes them anew; the diff then says what has changed for users.
"""

import json
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

import jaxmia
from experiments import digits
from jaxmia import augment, data, experiment, recipes
from jaxmia.command import app
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress

GOLDEN = Path(__file__).parent / "golden"
ATTACKS = ("lira_online", "lira_offline", "global_threshold", "correctness", "label_only")


def check(name, content):
    """The content is that of a golden file: words and whole numbers exactly, others to 1e-9.

    Ends of bootstrap intervals to 1e-3: the last digits of sums, which are other ones on another
    CPU, may move them to the next draw. Sentences say the same numbers again, and these may differ.
    """
    file = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        file.write_text(json.dumps(content, indent=1) + "\n")
    assert differences(json.loads(file.read_text()), json.loads(json.dumps(content))) == []


def differences(old, new, place=""):
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{place}.{k}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{place}[{i}]")]
    same = old == new
    if isinstance(old, float) and isinstance(new, int | float):
        by_draws = ".intervals." in place
        same = bool(np.isclose(old, new, rtol=1e-9, atol=1e-3 if by_draws else 1e-12))
    if isinstance(old, str) and isinstance(new, str) and ".states." in place:
        same = re.sub(r"\d", "", old) == re.sub(r"\d", "", new)
    return [] if same else [f"{place}: {old!r} there, {new!r} here"]


def keys(tree):
    """The fields of a summary, without its values."""
    return {k: keys(v) for k, v in tree.items()} if isinstance(tree, dict) else type(tree).__name__


def small():
    return jaxmia.Experiment(
        "small", data.synthetic(60, 8, 3, test=20), recipes.sgd(mlp(8), epochs=3, batch_size=16),
        models=8, attacks=ATTACKS, copies=augment.noised(0.1, copies=2),
    )  # fmt: skip


def options(path, lines):
    progress = Progress(quiet=True)
    progress.say = lines.append
    return Options(path, width=1, block=4, progress=progress)


def test_the_identity_of_the_digits():
    check("identity_digits.json", experiment.identity(digits.experiment, digits.experiment.data()))


def test_a_run_folder_has_these_files_and_its_summary_these_fields(tmp_path):
    run = jaxmia.run(small(), options(tmp_path / "small", []))
    files = sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file())
    check("run_files.json", [f for f in files if "/c/" not in f])
    check("run_fields.json", keys(run.summary))


def test_a_run_of_version_0_1_is_opened_and_need_not_be_trained_again(tmp_path):
    with tarfile.open(GOLDEN / "run_0.1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    old = jaxmia.Run.open(tmp_path / "small")
    assert old.models == 8 and old.posterior().shape == (8, 60)
    before = {m: row.copy() for m, row in enumerate(old.signals.phi)}
    lines = []
    again = jaxmia.run(small(), options(tmp_path / "small", lines))
    assert not any("training" in line for line in lines), lines
    for m, row in enumerate(again.signals.phi):
        np.testing.assert_array_equal(row, before[m])


def test_the_figures_of_fixed_signals(tmp_path, capsys):
    rng = np.random.default_rng(5)
    member = rng.permuted(np.repeat([[True], [False]], 6, 0) * np.ones((1, 300), bool), axis=0)
    logits = rng.normal(size=(12, 300, 3)) + 2 * member[..., None] * (np.arange(3) == 1)
    phi = np.stack([logits[..., 1] - np.logaddexp(logits[..., 0], logits[..., 2])] * 2, -1)
    phi[..., 1] += rng.normal(size=phi.shape[:2])
    for name, array in {"phi": phi, "member": member, "around": phi[:, :40] - 1}.items():
        np.save(tmp_path / f"{name}.npy", array)
    at = {name: str(tmp_path / f"{name}.npy") for name in ("phi", "member", "around")}
    names = (
        "lira_online", "lira_offline_global_variance", "global_threshold", "rmia_online", "base",
        "attack_r", "instance_threshold", "lira_online_per_example_variance",
    )  # fmt: skip
    app.main([
        "score", "--signals", at["phi"], "--member", at["member"], "--population", at["around"],
        "--curve", "--out", str(tmp_path / "out"), "--json", "--attacks", *names,
    ])  # fmt: skip
    summary = json.loads(capsys.readouterr().out)
    check("summary.json", {k: v for k, v in summary.items() if k != "command"})


@pytest.mark.parametrize("words", ["score", "audit-dp", "report", "export", "doctor", "experiment"])
def test_the_help_texts(words, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit) as end:
        if words == "experiment":
            jaxmia.cli(small(), ["--help"])
        else:
            app.main([words, "--help"])
    assert end.value.code == 0
    text = re.sub(r"\x1b\[[0-9;]*m|[─│╭╮╰╯]", " ", capsys.readouterr().out)
    check(
        f"help_{words}.json", [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    )
