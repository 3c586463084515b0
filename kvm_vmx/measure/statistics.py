# SPDX-License-Identifier: GPL-2.0-only
"""Medians with distribution-free intervals, paired rounds, and a least-squares fit."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

# of each variant's batches, round by round
Ticks: TypeAlias = Mapping[str, Sequence[int]]

# A batch that is so many ticks over its median was interrupted.
INTERRUPTED = 2_000


def median(values: Iterable[float]) -> float:
    """The middle one, or halfway between the two."""
    return statistics.median(values)


class Estimate(NamedTuple):
    """A median and the interval that holds the true one in 95 of 100 cases."""

    value: float
    low: float
    high: float


def estimate(values: Iterable[float]) -> Estimate:
    """The median with its order-statistic interval; the whole range where there are too few."""
    ordered = sorted(values)
    rank = lowest_rank(len(ordered))
    return Estimate(median(ordered), ordered[rank], ordered[len(ordered) - 1 - rank])


def lowest_rank(n: int, confidence: float = 0.95) -> int:
    """The largest rank r, from 0, so that values r and n-1-r enclose the median so surely."""
    tail, rank = 0.0, 0
    for k in range(n // 2):
        # the binomial probability that exactly k values lie below the median
        tail += math.comb(n, k) / 2 ** n
        if 2 * tail > 1 - confidence:
            break
        rank = k
    return min(rank, (n - 1) // 2)


def undisturbed(ticks: Ticks) -> list[int]:
    """The rounds in which no variant was interrupted: they are dropped in all alike."""
    limit = {name: median(values) + INTERRUPTED for name, values in ticks.items()}
    rounds = range(len(next(iter(ticks.values()))))
    kept = [r for r in rounds if all(ticks[name][r] <= limit[name] for name in ticks)]
    return kept or list(rounds)


def differences(ticks: Ticks, rounds: Sequence[int], name: str, control: str) -> float:
    """The median over the rounds of a variant less its control, in ticks."""
    return median(ticks[name][r] - ticks[control][r] for r in rounds)


def ratios(ticks: Ticks, rounds: Sequence[int], name: str, control: str) -> float:
    """The median over the rounds of a variant divided by its control."""
    return median(ticks[name][r] / ticks[control][r] for r in rounds)


def fit(rows: list[list[float]], values: list[float]) -> tuple[list[float], float]:
    """Least squares: the coefficient of each column, and R squared."""
    n = len(rows[0])
    left = [[sum(row[i] * row[j] for row in rows) for j in range(n)] for i in range(n)]
    right = [sum(row[i] * value for row, value in zip(rows, values)) for i in range(n)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda k: abs(left[k][i]))
        if abs(left[pivot][i]) < 1e-9:
            raise ValueError("the columns of a fit must not depend on each other")
        left[i], left[pivot] = left[pivot], left[i]
        right[i], right[pivot] = right[pivot], right[i]
        for k in range(n):
            if k != i:
                factor = left[k][i] / left[i][i]
                left[k] = [a - factor * b for a, b in zip(left[k], left[i])]
                right[k] -= factor * right[i]
    found = [right[i] / left[i][i] for i in range(n)]
    mean = statistics.fmean(values)
    off = sum((value - sum(a * b for a, b in zip(row, found))) ** 2
              for row, value in zip(rows, values))
    total = sum((value - mean) ** 2 for value in values)
    return found, 1 - off / total if total else 1.0
