"""The package's own crystals, by which the guard judges too where the held-out ones are few."""

from __future__ import annotations

import numpy as np

from matgl_fill.adapters import Adapter
from matgl_fill.embedding import Pool, prepare_pool
from matgl_fill.errors import InputError
from matgl_fill.structures import bundled_pool, formulas_of


def package_crystals(adapter: Adapter, pool: Pool, count: int) -> Pool | None:
    """Bundled crystals whose formulas are not among the pool's, so that no training on the pool has seen them.

    Args:
        adapter: Adapter of the original model.
        pool: Pool of the run.
        count: Number of crystals wanted; where the package holds fewer that the model can take, all of them.

    Returns:
        The crystals with the original's embedding; None where none is wanted or left.
    """
    if count <= 0:
        return None
    try:
        bundled = bundled_pool(adapter.element_types)
    except InputError:  # the model knows no element of any of them
        return None
    known = set(formulas_of(pool.structures))
    new = [i for i, formula in enumerate(bundled.formulas) if formula not in known]
    chosen = np.random.default_rng(0).permutation(new)[:count]
    return prepare_pool(adapter, bundled.subset(np.sort(chosen)), least=0) if len(chosen) else None
