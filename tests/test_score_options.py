"""Every option of `jaxmia score` is read, or refused with the one that it does not go with."""

import itertools
import re

import numpy as np
import pytest

from jaxmia import design
from jaxmia.attacks import ATTACKS
from jaxmia.command import app, inputs

M, N, C = 6, 20, 3
RNG = np.random.default_rng(0)
MEMBER = design.complementary_halves(0, M, N)
FILES = {
    "signals": RNG.normal(size=(M, N)).astype("f4"), "member": MEMBER,
    "logits": RNG.normal(size=(M, N, C)).astype("f4"), "labels": RNG.integers(C, size=N),
    "target": RNG.normal(size=N).astype("f4"), "target_logits": RNG.normal(size=(N, C)),
    "target_member": MEMBER[0], "population": RNG.normal(size=(M, 7)),
    "target_population": RNG.normal(size=7), "gradient_norms": np.ones((M, N)),
    "target_gradient_norms": np.ones(N), "activations": np.ones((M, N, 4)),
    "target_activations": np.ones((N, 4)), "trajectory": np.ones((M, N, 5)),
    "target_trajectory": np.ones((N, 5)), "person": np.arange(N), "pairs": np.arange(M) // 2,
    "show_examples": np.ones((N, 3)), "features": np.ones((N, 4)),
    "groups": np.arange(N) % 2,
}  # fmt: skip
BASES = {
    "signals": ("signals", "member"),
    "logits": ("logits", "labels", "member"),
    "target": ("signals", "member", "target", "target_member"),
    "streamed": ("signals", "member", "stream"),
}


@pytest.fixture
def folder(tmp_path, as_users_run):
    for name, array in FILES.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "groups.npz", sex=FILES["groups"])
    return tmp_path


def call(folder, options, absent=None):
    """Exit status and the line on stderr, for these options; the file of one of them is absent."""
    words = ["score", "--out", str(folder / "out"), "--attacks", "lira_online", "global_threshold"]
    uses = {"gradient_norms": "gradient_norm"}
    uses["trajectory"] = "trajectory_lira_online"
    words += [uses[o] for o in uses if o in options]
    words += ["proxy_instance"] if {"features", "labels"} <= set(options) else []
    words += ["activations"] if {"activations", "labels"} <= set(options) else []
    for name in options:
        flag = f"--{name.replace('_', '-')}"
        ending = "npz" if name == "groups" else "npy"
        file = folder / f"{'absent' if name == absent else name}.{ending}"
        words += {"stream": [flag, "always"], "curve": [flag]}.get(name, [flag, str(file)])
    return words


@pytest.mark.parametrize("base", BASES)
def test_an_option_that_is_not_refused_is_read(folder, base, capsys):
    """With any other option beside it: were its file not there, the command would say so."""
    others = [name for name in [*FILES, "curve"] if name not in BASES[base]]
    accepted = 0
    for pair in itertools.combinations(others, 2):
        options = (*BASES[base], *pair)
        for absent in (name for name in pair if name in FILES):
            with pytest.raises(SystemExit) as end:
                app.main(call(folder, options, absent))
            err = capsys.readouterr().err
            flag = f"--{absent.replace('_', '-')}"
            assert end.value.code == 2 and len(err.splitlines()) == 1, (pair, err)
            if "is no file" in err:
                assert f"{flag}: " in err, (pair, err)
                accepted += 1
            else:  # refused, and by which
                flags = set(re.findall(r"--[a-z-]+", err))
                both = {f"--{name.replace('_', '-')}" for name in pair}
                assert flags & (both | {flag, "--stream"}), (pair, err)
    assert accepted >= 2
    assert not (folder / "out").exists()


def test_the_table_names_options_that_are_there():
    fields = set(inputs.Score.__dataclass_fields__)
    for table in (inputs.NEEDS, inputs.EXCLUDES):
        assert set(table) <= fields and {o for row in table.values() for o in row} <= fields
    assert set(inputs.IN_MEMORY) <= fields


def test_thresholds_of_a_target_without_a_population_come_from_scores_without_one(folder, capsys):
    for options in (("population",), ("target_population",)):
        with pytest.raises(SystemExit) as end:
            app.main(call(folder, (*BASES["target"], *options)))
        assert end.value.code == 2 and "go together" in capsys.readouterr().err
    assert "rmia_online" in ATTACKS
