"""Atomic volumes of the elements, fitted to the pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pymatgen.core import Structure
from scipy.optimize import nnls

from matgl_fill.generation.moves.base import radius
from matgl_fill.structures import elements_of


def atomic_volumes(structures: Sequence[Structure]) -> dict[str, float]:
    """Fit the volume per atom of each element, in cubic Angstrom.

    First every element gets a + b r³ with its covalent radius r and the a, b that fit the pool best. Then the volumes
    themselves are fitted, each held to that guess as firmly as by one crystal, so that an element seen once is sensible
    as well. Both are non-negative least squares of relative errors.

    Args:
        structures: The n relaxed crystals.

    Returns:
        The volumes by symbol, of all elements that occur.

    Example:
        >>> from pymatgen.core import Lattice
        >>> cells = [Structure(Lattice.cubic(a), [el], [[0, 0, 0]]) for el, a in (("Po", 3.35), ("Cu", 2.3))]
        >>> {el: round(v, 1) for el, v in atomic_volumes(cells * 50).items()}
        {'Cu': 12.2, 'Po': 35.9}
    """
    elements = elements_of(structures)
    column = {el: k for k, el in enumerate(elements)}
    shares = np.zeros((len(structures), len(elements)))
    for row, s in zip(shares, structures, strict=True):
        for el, share in s.composition.fractional_composition.items():
            row[column[el.symbol]] = share
    shares /= np.array([s.volume / len(s) for s in structures])[:, None]
    shape = np.array([[1, radius(el) ** 3] for el in elements])
    guess = shape @ nnls(shares @ shape, np.ones(len(shares)))[0]
    rows = np.vstack([shares * guess, np.eye(len(elements))])
    return dict(zip(elements, (guess * nnls(rows, np.ones(len(rows)))[0]).tolist(), strict=True))


def scaled_volume(structure: Structure, symbols: Iterable[str], volumes: Mapping[str, float] | None) -> float:
    """Volume of ``structure`` with its atoms replaced by ``symbols``, filled to the same share, in cubic Angstrom.

    Args:
        structure: Crystal of n atoms.
        symbols: Elements of the n atoms that replace them.
        volumes: Volumes from :func:`atomic_volumes`; None, or an element without an entry, means the cube of covalent
            radii.
    """
    new = list(symbols)
    old = [e.symbol for e in structure.species]
    if volumes and {*new, *old} <= volumes.keys():
        ratio = sum(volumes[el] for el in new) / sum(volumes[el] for el in old)
    else:
        ratio = sum(radius(el) ** 3 for el in new) / sum(radius(el) ** 3 for el in old)
    return float(structure.volume * ratio)
