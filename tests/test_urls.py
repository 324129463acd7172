"""A URL is refused where a path of this machine is asked for, and leaves no folder called `s3:`."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from dying import experiment
from sklearn.tree import DecisionTreeClassifier

import jaxmia
from jaxmia.command import app
from jaxmia.command.flags import Flags
from jaxmia.options import Options
from jaxmia.storage.urls import local, url

URLS = {
    "s3:/bucket/run": "s3://bucket/run",
    "S3://bucket/run": "s3://bucket/run",
    "gs://bucket": "gs://bucket",
    "https://example.org/a b": "https://example.org/a b",
    "file:///tmp/run": "file://tmp/run",
}
PATHS = ("run", "/tmp/s3:/run", "a:b/c", "s3:", "C:/run", "s3:run", "https", "../gs:/x", "")


def test_a_url_is_known_also_where_it_was_made_a_path():
    for text, whole in URLS.items():
        assert url(text) == url(Path(text)) == whole
    assert [url(text) for text in PATHS] == [None] * len(PATHS)
    assert local("run", "workdir") == Path("run")


def refused(capsys, work, option):
    with pytest.raises(SystemExit) as stopped:
        work()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == f"jaxmia: {option}: s3://bucket/x is a URL; a path on this machine is needed"


COMMANDS = {
    "score": {"--out": "o", "--signals": "s.npy"},
    "audit-dp": {"--scores": "s.npy", "--member": "m.npy", "--delta": "0"},
    "export": {"": "r", "--out": "o"},
    "report": {"": "r", "--out": "o"},
    "attest": {"": "r", "--policy": "p.toml", "--out": "o"},
    "audit": {"": "m.skops", "--data": "d.npz", "--out": "o"},
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_it(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    for option in (o for o in COMMANDS[name] if o and o != "--delta"):
        flags = COMMANDS[name] | {option: "s3://bucket/x"}
        words = [word for pair in flags.items() for word in pair if word]
        refused(capsys, lambda words=words: app.main([name, *words]), option)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [f.name for f in fields(Flags) if "Path" in str(f.type)])
def test_an_experiment_refuses_it(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    option = f"--{name.replace('_', '-')}"
    refused(capsys, lambda: jaxmia.cli(experiment(), [option, "s3://bucket/x"]), option)
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_not_known_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for place in ("abfs://x/y", "s3://bucket"):
        with pytest.raises(SystemExit) as stopped:
            jaxmia.cli(experiment(), ["--workdir", place])
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert stopped.value.code == 2 and line.startswith(f"jaxmia: workdir: {place} is neither")
        with pytest.raises(ValueError, match="workdir: .* is neither a path on this machine nor"):
            jaxmia.run(experiment(), Options(workdir=place))
        with pytest.raises(ValueError, match="run: .* is neither"):
            jaxmia.Run.open(place)
    assert not list(tmp_path.iterdir())


def test_what_needs_a_path_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        jaxmia.cli(experiment(), ["--workdir", "s3://bucket/x", "--target-signals", "t.npy"])
    line = capsys.readouterr().err.strip()
    assert line.startswith("jaxmia: --workdir (with a target): s3://bucket/x is a URL; a path")
    with pytest.raises(ValueError, match="out: s3://bucket/x is a URL"):
        jaxmia.audit(
            DecisionTreeClassifier(), np.zeros((8, 1)), np.arange(8) % 2, out="s3://bucket/x"
        )
    assert not list(tmp_path.iterdir())
