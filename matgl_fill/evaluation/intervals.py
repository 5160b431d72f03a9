"""Bootstrap intervals, the same at every call."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

BOOTSTRAP = 2000
"""Number of resamples from which an interval is taken."""
LEVELS = (0.025, 0.975)
"""Ends of a 95 % interval."""


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of (n,) values."""
    rng = np.random.default_rng(0)
    low, high = np.quantile(values[rng.integers(len(values), size=(BOOTSTRAP, len(values)))].mean(axis=1), LEVELS)
    return float(low), float(high)


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray, groups: Sequence[Hashable]) -> tuple[float, float]:
    """95 % interval of the ratio of two sums over the same n rows.

    Whole groups are drawn: crystals of one formula, or frames of one simulation, are no independent rows.

    Args:
        numerator: What each row adds to the upper sum, (n,).
        denominator: What each row adds to the lower sum, (n,).
        groups: Group of each row, such as its formula.

    Returns:
        Lower and upper end; both NaN with fewer than two groups, which tell nothing of the scatter, and where a ratio
        is no number.
    """
    number = {group: k for k, group in enumerate(dict.fromkeys(groups))}
    member = np.array([number[group] for group in groups], dtype=int)
    m = len(number)
    if m < 2:
        return np.nan, np.nan
    up, down = (np.bincount(member, weights=x, minlength=m) for x in (numerator, denominator))
    draws = np.random.default_rng(0).integers(m, size=(BOOTSTRAP, m))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = up[draws].sum(axis=1) / down[draws].sum(axis=1)
    low, high = np.quantile(ratios, LEVELS) if np.isfinite(ratios).all() else (np.nan, np.nan)
    return float(low), float(high)
