"""Degenerate signals leave no "nan" and no warning of a library, in whatever is written of them."""

import re

import numpy as np
import pytest

from jaxmia import design
from jaxmia.command.inputs import Score
from jaxmia.command.score import score

M, N = 6, 20
RNG = np.random.default_rng(0)
MEMBER = design.complementary_halves(0, M, N)
PHI = RNG.normal(size=(M, N)) + MEMBER
WORDS = re.compile(r"\b(nan|inf|NaN|Infinity)\b")
SAID = re.compile(r'NaN for|signal is NaN|: Infinity;|"nan": \d')  # notes, script, a count
CASES = {
    "members 1, others 0": np.where(MEMBER, 1.0, 0.0),
    "two values": np.where(RNG.random((M, N)) < 0.5, 1.0, 0.0),
    "sure of all": np.where(MEMBER, np.inf, -np.inf),
    "NaN": np.where(RNG.random((M, N)) < 0.5, np.nan, PHI),
    "two examples": np.where(np.arange(N) < N - 2, np.nan, PHI),
    "large": PHI * 1e300,
    "half precision": np.where(MEMBER, PHI, -np.inf),
}


@pytest.mark.parametrize("how", ["never", "always"])
@pytest.mark.parametrize("name", CASES)
def test_no_file_says_nan(tmp_path, name, how):
    dtype = {"large": np.float64, "half precision": np.float16}.get(name, np.float32)
    np.save(tmp_path / "phi.npy", CASES[name].astype(dtype))
    np.save(tmp_path / "member.npy", MEMBER)
    score(
        Score(
            tmp_path / "o",
            tmp_path / "member.npy",
            tmp_path / "phi.npy",
            stream=how,
            attacks=("lira_online", "instance_threshold"),
        )  # fmt: skip
    )
    files = [p for p in (tmp_path / "o").rglob("*.*") if p.suffix in (".svg", ".html", ".csv")]
    assert len(files) > 3
    for file in [*files, tmp_path / "o/summary.json"]:
        text = file.read_text()
        for word in WORDS.finditer(text):
            around = text[max(0, word.start() - 40) : word.end() + 40]
            assert SAID.search(around), (file.name, around)


def test_each_score_that_cannot_be_given_has_a_reason(tmp_path):
    member = design.complementary_halves(0, 16, N)
    phi = RNG.normal(size=member.shape) + member
    phi[2], phi[4, :3] = np.nan, np.nan  # one model has diverged, three signals of another
    member[:, 7] = True  # nobody was not trained on it
    for file, array in (("phi", phi), ("member", member)):
        np.save(tmp_path / f"{file}.npy", array)
    reasons = {"diverged": N, "nan": 3, "references": 15}
    for how in ("never", "always"):
        summary = score(
            Score(
                tmp_path / "o",
                tmp_path / "member.npy",
                tmp_path / "phi.npy",
                stream=how,
                attacks=("lira_online", "global_threshold"),
            )  # fmt: skip
        )
        of = summary["attacks"]
        assert of["lira_online"]["not_scorable"] == N + 3 + 15
        assert of["lira_online"]["not_scorable_because"] == reasons
        assert of["global_threshold"]["not_scorable_because"] == {"diverged": N, "nan": 3}
        page = (tmp_path / "o/report/index.html").read_text()
        assert (
            "lira_online: 38 scores cannot be given: 20 of models that have diverged, 3 whose own "
            "signal is NaN, 15 with too few references"
        ) in page  # fmt: skip
