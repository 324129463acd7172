"""Allele frequencies: float64 loops, and the law that the likelihood ratio follows."""

import json
import subprocess
import sys
from math import log, sqrt
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from row_pages import check_page

from experiments.pages import frequencies
from jaxmia import allele_frequencies, design, metrics

ROOT = Path(__file__).parents[1]
G = np.array([[0, 0.5, 1, 1], [0.5, np.nan, 0, 1], [1, 1, 0.5, 0], [0, 0, 0.5, 0.5]])
MEMBER = np.array([[True, True, False, False], [False, True, True, True]])
P = np.array([0.3, 0.5, 0.6, 0.9])


def test_a_pool_is_its_known_genotypes_mean():
    pools = allele_frequencies.released(G, MEMBER)
    for t, rows in enumerate(([0, 1], [1, 2, 3])):
        for j in range(4):
            genotypes = [G[i, j] for i in rows if G[i, j] == G[i, j]]
            assert np.isclose(pools[t, j], mean(genotypes))


def test_statistics_person_by_person():
    pools = allele_frequencies.released(G, MEMBER)
    homer = allele_frequencies.homer(G, pools, P)
    ratio = allele_frequencies.likelihood_ratio(G, pools, P, least=0.01)
    for t in range(2):
        for i in range(4):
            snps = [j for j in range(4) if G[i, j] == G[i, j]]
            d = [abs(G[i, j] - P[j]) - abs(G[i, j] - pools[t, j]) for j in snps]
            assert np.isclose(homer[t, i], mean(d) / (stdev(d) / sqrt(len(d))))
            total = 0.0
            for j in snps:
                m, p = (min(max(f, 0.01), 0.99) for f in (pools[t, j], P[j]))
                total += 2 * G[i, j] * log(m / p) + 2 * (1 - G[i, j]) * log((1 - m) / (1 - p))
            assert np.isclose(ratio[t, i], total)


@pytest.mark.parametrize(("snps", "people"), [(30, 100), (300, 100), (300, 400)])
def test_the_likelihood_ratio_reaches_what_theory_says(snps, people):
    aucs, rates, homers = [], [], []
    for seed in range(6):
        g, p = allele_frequencies.simulated(seed, 1500, snps)
        member = design.fixed_size(people)(seed, 10, 1500)
        pools = allele_frequencies.released(g, member)
        score = allele_frequencies.likelihood_ratio(g, pools, p)
        aucs.append(metrics.auc(score, member))
        rates.append(metrics.tpr_at_fpr(score, member, 0.01))
        homers.append(metrics.auc(allele_frequencies.homer(g, pools, p), member))
    # alleles are whole numbers, not normal: about one hundredth is left of the approximation
    assert abs(np.mean(aucs) - allele_frequencies.expected_auc(snps, people)) < 0.015
    assert abs(np.mean(rates) - allele_frequencies.expected_tpr(snps, people, 0.01)) < 0.04
    assert 0.5 < np.mean(homers) < np.mean(aucs)


def test_nobody_is_found_where_the_pool_is_of_others():
    g, p = allele_frequencies.simulated(1, 4000, 200)
    pools = allele_frequencies.released(g[:2000], design.fixed_size(50)(0, 4, 2000))
    member = np.random.default_rng(0).random((4, 2000)) < 0.5  # of people who are in no pool
    for score in (allele_frequencies.homer, allele_frequencies.likelihood_ratio):
        assert abs(metrics.auc(score(g[2000:], pools, p), member) - 0.5) < 5 / sqrt(12 * 1000)


def test_packed_genotypes_are_read_two_bits_a_person(tmp_path):
    copies = np.random.default_rng(0).integers(0, 4, (5, 6)).astype(np.uint8)  # SNPs by people
    filled = np.zeros((5, 8), np.uint8)
    filled[:, :6] = copies
    bits = sum(filled[:, k::4] << 2 * k for k in range(4))
    np.savez(tmp_path / "g.npz", packed=bits, n=6)
    genotypes = allele_frequencies.packed(tmp_path / "g.npz")
    np.testing.assert_array_equal(np.where(np.isnan(genotypes), 3, 2 * genotypes), copies.T)


def test_what_does_not_fit_is_refused(tmp_path, as_users_run):
    np.savez(tmp_path / "x.npz", x=1)
    for wrong, what in (
        (lambda: allele_frequencies.released(G * 2, MEMBER), "0, 1/2, 1 or NaN"),
        (lambda: allele_frequencies.released(G, MEMBER[:, :3]), "has 3 people, genotype has 4"),
        (lambda: allele_frequencies.homer(G, P[None, :3], P), r"pool: has shape \(1, 3\)"),
        (lambda: allele_frequencies.likelihood_ratio(G, P[None], P, least=0.5), "least=0.5"),
        (lambda: allele_frequencies.simulated(0, 0, 3), "people=0"),
        (lambda: allele_frequencies.packed(tmp_path / "x.npz"), "holds no packed genotypes"),
    ):
        with pytest.raises(ValueError, match=what):
            wrong()


def test_the_experiment_measures_and_reports(tmp_path, monkeypatch):
    bits = np.random.default_rng(0).integers(0, 256, (400, 30), np.uint8)
    np.savez(tmp_path / "g.npz", packed=bits, n=120)
    for i, flags in enumerate((["--people", "300"], ["--data", str(tmp_path / "g.npz")])):
        process = subprocess.run(
            [sys.executable, "-m", "experiments.studies.allele_frequencies", "--pools", "4",
             "--snps", "100", "400", "--pool-sizes", "20", "40", "--reference", "40", *flags,
             "--json", "--out", str(tmp_path / f"out{i}"), "--results", str(tmp_path / "rows")],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr[-2000:]
        summary = json.loads(process.stdout)
        assert set(summary["attacks"]) == {"homer", "likelihood_ratio"}
        assert len(summary["power"]) == 4 and summary["attacks"]["likelihood_ratio"]["auc"] > 0.6
        assert (tmp_path / f"out{i}" / "report" / "power.svg").exists()
        check_page(frequencies, "allele_frequencies", tmp_path / "rows", monkeypatch)
    wrong = subprocess.run(
        [sys.executable, "-m", "experiments.studies.allele_frequencies", "--pool-sizes", "5000"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert wrong.returncode == 2 and "pool-sizes: 5000" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
