"""Who is in a pool of genomes, from nothing but the pool's allele frequencies.

The released statistic is the mean genotype of n people at S places of the genome (SNPs). A person's
genotype is 0, 1/2 or 1 at each, half the copies of the counted allele; NaN where it is not known.

    homer              T = mean_j(|g_j - p_j| - |g_j - m_j|), over its standard error
    likelihood_ratio   sum_j 2 [ g_j log(m_j / p_j) + (1 - g_j) log((1 - m_j) / (1 - p_j)) ]

for a pool's frequency m and the population's p. Homer et al. 2008; Sankararaman et al. 2009.
Scores are float64, higher means member. NumPy.
"""

from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtr, ndtri

from jaxmia.types import Array

Number: TypeAlias = int | float | np.ndarray
LEAST = 1e-3  # frequencies are held this far from 0 and 1, so that no logarithm is infinite


def released(genotype: Float[Array, "N S"], member: Bool[Array, "T N"]) -> Float[np.ndarray, "T S"]:
    """The mean genotype of each pool; NaN where nobody's is known.

    Raises `ValueError` for genotypes other than 0, 1/2, 1 and NaN, or shapes that do not fit.
    """
    g, member = _checked(genotype), np.asarray(member, bool)
    if member.shape[-1] != len(g):
        raise ValueError(f"member: has {member.shape[-1]} people, genotype has {len(g)}")
    inside = member.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return inside @ np.nan_to_num(g) / (inside @ ~np.isnan(g))


def homer(
    genotype: Float[Array, "N S"], pool: Float[Array, "T S"], population: Float[Array, " S"]
) -> Float[np.ndarray, "T N"]:
    """How much nearer each person is to the pool than to the population, in standard errors."""
    g, m, p = _checked(genotype), np.asarray(pool, np.float64), np.asarray(population, np.float64)
    _check_shapes(g, m, p)
    count = (~np.isnan(g)).sum(1)
    total = squares = np.zeros((len(m), len(g)))
    for value in (0, 0.5, 1):  # a genotype is one of three, so all sums are products of matrices
        nearer = np.nan_to_num(np.abs(value - p[None]) - np.abs(value - m))
        where = (g == value).astype(np.float64).T
        total, squares = total + nearer @ where, squares + nearer**2 @ where
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        variance = np.maximum(squares - count * mean**2, 0) / (count - 1)
        return mean / np.maximum(np.sqrt(variance / count), 1e-12)


def likelihood_ratio(
    genotype: Float[Array, "N S"],
    pool: Float[Array, "T S"],
    population: Float[Array, " S"],
    least: float = LEAST,
) -> Float[np.ndarray, "T N"]:
    """The log-likelihood ratio of a genotype drawn at the pool's frequencies over the population's.

    Frequencies are clipped to `[least, 1 - least]`; a place that is not known says nothing.
    """
    if not 0 < least < 0.5:
        raise ValueError(f"least={least} must be above 0 and below 0.5")
    g, m, p = _checked(genotype), np.asarray(pool, np.float64), np.asarray(population, np.float64)
    _check_shapes(g, m, p)
    present = ~np.isnan(g)
    m, p = (np.clip(a, least, 1 - least) for a in (m, p[None]))
    have, lack = (np.nan_to_num(a) for a in (np.log(m / p), np.log((1 - m) / (1 - p))))
    return 2 * (have @ np.where(present, g, 0.0).T + lack @ np.where(present, 1 - g, 0.0).T)


def expected_auc(snps: Number, people: Number) -> np.ndarray:
    """The likelihood ratio's AUC for S independent SNPs and a pool of n: `Phi(sqrt(S / 2n))`.

    Both classes are normal, sqrt(S / n) of a standard deviation apart (Sankararaman et al. 2009).
    """
    return np.asarray(ndtr(np.sqrt(np.asarray(snps, np.float64) / (2 * np.asarray(people)))))


def expected_tpr(snps: Number, people: Number, fpr: float) -> np.ndarray:
    """Its TPR at an FPR, `Phi(sqrt(S / n) - Phi^-1(1 - FPR))`."""
    apart = np.sqrt(np.asarray(snps, np.float64) / np.asarray(people))
    return np.asarray(ndtr(apart + ndtri(fpr)))


def simulated(
    seed: int, people: int, snps: int, rarest: float = 0.05
) -> tuple[Float[np.ndarray, "N S"], Float[np.ndarray, " S"]]:
    """Genotypes of unrelated people at independent SNPs, and the true frequencies.

    The frequency of the counted allele is uniform on `[rarest, 1 - rarest]`, and the two copies of
    a person are independent (Hardy-Weinberg).
    """
    if people < 1 or snps < 1 or not 0 < rarest <= 0.5:
        raise ValueError(
            f"simulated: people={people} and snps={snps} must be 1 or more, "
            f"rarest={rarest} above 0 and at most 0.5"
        )
    rng = np.random.default_rng([seed, people, snps])
    p = rng.uniform(rarest, 1 - rarest, snps)
    return rng.binomial(2, p, (people, snps)) / 2, p


def packed(path: str | Path) -> Float[np.ndarray, "N S"]:
    """Genotypes from an `.npz` of `packed` uint8 `[S, N/4]` and the number of people `n`.

    Two bits a person, the low ones first: copies of the counted allele, 3 where it is not known.
    Raises `ValueError` or `FileNotFoundError` for any other file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"data: {path} is no file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            bits, people = archive["packed"], int(archive["n"])
    except (ValueError, KeyError, OSError, EOFError, TypeError) as error:
        raise ValueError(f"data: {path} holds no packed genotypes ({error})") from error
    if bits.dtype != np.uint8 or bits.ndim != 2 or not 0 < people <= 4 * bits.shape[1]:
        raise ValueError(f"data: {path} holds {bits.dtype} {bits.shape} for {people} people")
    copies = np.stack([bits >> s & 3 for s in (0, 2, 4, 6)], -1).reshape(len(bits), -1)
    copies = copies[:, :people].T
    return np.where(copies == 3, np.nan, copies / 2)


def _checked(genotype: Array) -> np.ndarray:
    g = np.asarray(genotype, np.float64)
    if g.ndim != 2 or not (np.isnan(g) | (g == 0) | (g == 0.5) | (g == 1)).all():
        raise ValueError(f"genotype: needs 0, 1/2, 1 or NaN, people by SNPs, is {g.shape}")
    return g


def _check_shapes(g: np.ndarray, m: np.ndarray, p: np.ndarray) -> None:
    if m.ndim != 2 or m.shape[1] != g.shape[1] or p.shape != (g.shape[1],):
        raise ValueError(
            f"pool: has shape {m.shape}, population {p.shape}, for {g.shape[1]} SNPs of genotype"
        )
