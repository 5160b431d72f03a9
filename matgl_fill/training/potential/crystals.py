"""Crystals on which a potential is held to itself: general ones, and those of the class at rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter, predict
from matgl_fill.embedding import Pool, usable_crystals
from matgl_fill.errors import InputError
from matgl_fill.generation.augment import augmentations
from matgl_fill.structures import bundled, bundled_pool, elements_of, formulas_of, read_structures
from matgl_fill.training.labels import LabelledSet, Labels
from matgl_fill.training.potential.relax import relax

DISPLACEMENT, STRAIN = 0.2, 0.02
"""Largest standard deviation of displacements in Angstrom, and standard deviation of strains, of general crystals."""
ROUNDS = 12
"""Number of times that every bundled crystal is given other elements, at most."""
KNOWN, MEMBERS, RELAX_STEPS, REST_ATOMS = 40, 160, 25, 24
"""Largest number of crystals at rest that are known, from the pool and from the labelled ones each; number of new
members of the class; steps of each relaxation; and largest number of atoms."""
DRAWS = 3
"""Number of draws for each new member: some give a formula that is known, or twice the same."""


def general_crystals(elements: Sequence[str], count: int, seed: int) -> list[Structure]:
    """Make crystals of many kinds from the package's own, half of them away from rest.

    The bundled crystals get other, chemically similar elements, with the volume that these need; every second one is
    displaced by up to :data:`DISPLACEMENT` and strained.

    Args:
        elements: Elements that may occur.
        count: Number of crystals wanted; where the elements are few there may be fewer.
        seed: Seed of all random choices.
    """
    rng, allowed = np.random.default_rng(seed), set(elements)
    try:
        known = [*bundled_pool(tuple(elements)).structures, *read_structures(bundled.EVALUATION).structures]
    except InputError:  # no bundled crystal is made of these elements alone
        known = read_structures(bundled.ASSETS / "crystals_pool.jsonl.gz").structures
    made = [s for s in known if s.chemical_system_set <= allowed][:count]
    for _ in range(ROUNDS):
        if len(made) >= count:
            break
        new = augmentations(known, 1, rng, 0.0, STRAIN, 1.0, tuple(sorted(allowed)))
        made += [s for s in new if s.chemical_system_set <= allowed]
    chosen = [made[i] for i in rng.permutation(len(made))[:count]]
    moved = augmentations(chosen[1::2], 1, rng, DISPLACEMENT, STRAIN)
    return chosen[::2] + moved


def crystals_at_rest(adapter: Adapter, pool: Pool, labelled: LabelledSet, seed: int) -> list[Structure]:
    """Crystals of the class at rest by the potential: known ones, and new members of the class.

    Known are the pool's crystals that have the class's elements alone, and one labelled crystal of each formula, that
    with the smallest forces, after a few steps of relaxation. New members are these with elements of the class
    exchanged, relaxed too. Nothing has to be calculated for them but the potential itself, and they hold what it knows
    of formulas that no label shows.

    Args:
        adapter: Adapter of the original potential.
        pool: Pool of the run.
        labelled: Labelled crystals of the class.
        seed: Seed of all random choices.
    """
    elements, rng = elements_of(labelled.structures), np.random.default_rng(seed)
    own = [s for s in pool.structures if s.chemical_system_set <= set(elements) and len(s) <= REST_ATOMS]
    sizes = [float(np.nanmean(np.abs(f))) if np.isfinite(f).any() else np.inf for f in labelled.labels.forces]
    nearest: dict[str, Structure] = {}
    formulas = formulas_of(labelled.structures)
    for i in np.argsort(sizes, kind="stable"):
        if len(labelled.structures[i]) <= REST_ATOMS:
            nearest.setdefault(formulas[i], labelled.structures[i])
    known = [own[i] for i in rng.permutation(len(own))[:KNOWN]]
    known += relax(adapter, list(nearest.values())[:KNOWN], RELAX_STEPS)
    if not known:
        return []
    made = augmentations(known, -(-DRAWS * MEMBERS // len(known)), rng, 0.0, 0.0, 1.0, elements)
    have = set(formulas_of(known))
    kinds = {(f, len(s)): s for s, f in zip(made, formulas_of(made), strict=True) if f not in have}
    new = list(kinds.values())[:MEMBERS]
    usable = usable_crystals(adapter, formulas_of(new), new)
    return known + relax(adapter, [new[i] for i in usable.rows], RELAX_STEPS)


def own_labels(adapter: Adapter, crystals: Sequence[Structure]) -> LabelledSet:
    """Crystals labelled by the potential itself, without those that it cannot take or whose forces are extreme.

    Args:
        adapter: Adapter of the original potential.
        crystals: The crystals.
    """
    usable = usable_crystals(adapter, formulas_of(crystals), crystals, graphs=True)
    found = predict(adapter, usable.graphs, "labelling crystals by the potential itself")
    labels = Labels(found.energy, found.forces, found.stress)
    return LabelledSet([crystals[i] for i in usable.rows], labels).subset(np.flatnonzero(labels.usable()))
