"""Which crystals of a pool get configurations, how many of each kind, and making them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.config.config import Kind, SearchConfig
from matgl_fill.embedding import Pool, usable_crystals
from matgl_fill.errors import GenerationError, MatglFillWarning
from matgl_fill.generation.configurations import MAKERS, Configuration
from matgl_fill.structures import formulas_of
from matgl_fill.utils.checkpoint import Checkpoint
from matgl_fill.utils.counting import counted
from matgl_fill.utils.hashing import hash_model, hash_parts, hash_structure
from matgl_fill.utils.scaling import Scaling

TOGETHER = 5
"""Number of configurations that are made together, and then saved."""
TRIES = 3
"""Number of crystals that are tried for each configuration of a kind before others take its place."""


@dataclass(frozen=True)
class Configured:
    """One configuration, and where it comes from.

    Attributes:
        kind: Kind of the configuration.
        row: Row of its crystal in the pool.
        configuration: The configuration.
    """

    kind: Kind
    row: int
    configuration: Configuration


def counts_of(shares: Mapping[Kind, float], n: int) -> Counter[Kind]:
    """Number of each kind by its share, n in all: what is left after rounding down goes to the largest remainders.

    Args:
        shares: Shares of the kinds; only their ratios count.
        n: Number in all.

    Example:
        >>> counts_of({"displaced": 5, "surface": 1, "member": 1}, 10)
        Counter({'displaced': 7, 'surface': 2, 'member': 1})
    """
    exact = {kind: n * share / sum(shares.values()) for kind, share in shares.items()}
    counts = Counter({kind: int(x) for kind, x in exact.items()})
    left = sorted(exact, key=lambda kind: counts[kind] - exact[kind])
    counts.update(left[: n - counts.total()])
    return counts


def base_rows(pool: Pool, targets: np.ndarray, settings: SearchConfig, seed: int) -> list[int]:
    """Rows of the pool's crystals in the order in which they get configurations.

    Those nearest to the targets come first, in the targets' order, then the others in random order; and of every
    formula one comes before a second one of any.

    Args:
        pool: The pool.
        targets: Latent points (m, dim) near which crystals are wanted, the most wanted first; there may be none.
        settings: Elements that no crystal may hold, and the largest number of atoms.
        seed: Seed of the random order.

    Raises:
        GenerationError: Every crystal is too large or holds an excluded element.
    """
    excluded, most = set(settings.exclude_elements), settings.max_atoms
    small = [i for i, s in enumerate(pool.structures) if len(s) <= most and excluded.isdisjoint(s.symbol_set)]
    if not small:
        raise GenerationError(
            f"every crystal of the pool has more than {most} atoms or an excluded element; add others or change "
            "max_atoms and exclude_elements."
        )
    scaling = Scaling.of(pool.Z)
    X = scaling(pool.Z[small])
    first = [small[int(np.linalg.norm(X - t, axis=1).argmin())] for t in scaling(targets)]
    order = list(dict.fromkeys([*first, *np.random.default_rng(seed).permutation(small).tolist()]))
    seen, turn = Counter[str](), dict[int, int]()
    for row, formula in zip(order, formulas_of([pool.structures[i] for i in order]), strict=True):
        turn[row] = seen[formula]
        seen[formula] += 1
    return sorted(order, key=turn.__getitem__)


def make_configurations(
    adapter: Adapter,
    pool: Pool,
    rows: Sequence[int],
    counts: Mapping[Kind, int],
    settings: SearchConfig,
    seed: int,
    checkpoint: Path | None = None,
) -> list[Configured]:
    """Make configurations around a pool's crystals.

    One kind after the other goes on through the crystals where the last one stopped, and round again where they are
    fewer than the configurations. Where a crystal has none of a kind, the next one is tried; where too few have,
    displaced ones take the place, and a warning says so.

    Args:
        adapter: Adapter of the potential.
        pool: The pool.
        rows: Rows of its crystals in the order in which they are taken.
        counts: Number of configurations of each kind.
        settings: Largest number of atoms.
        seed: Seed of all random choices.
        checkpoint: File to which the configurations are saved, and from which an interrupted call goes on.

    Raises:
        InputError: The checkpoint is of other work.
    """
    crystals = [pool.structures[i] for i in rows]
    key = hash_parts(
        hash_model(adapter.model), *map(hash_structure, crystals), sorted(counts.items()), settings.max_atoms, seed
    )
    saved = Checkpoint(checkpoint, key, "the making of configurations")
    maker = _Making(adapter, rows, crystals, settings.max_atoms, seed, saved)
    short = Counter[Kind]()
    for kind in MAKERS:
        wanted = counts.get(kind, 0) + (short.total() if kind == "displaced" else 0)
        if (missing := wanted - maker.make(kind, wanted)) > 0:
            short[kind] = missing
    for kind, missing in short.items():
        place = "they are left out" if kind == "displaced" else "displaced crystals take their place"
        warnings.warn(
            f"{counted(missing, 'configuration')} of kind '{kind}' cannot be made from these crystals with at most "
            f"{settings.max_atoms} atoms; {place}.",
            MatglFillWarning,
            stacklevel=2,
        )
    return maker.done


class _Making:
    """Configurations that are made, kind after kind, and saved on the way."""

    def __init__(
        self,
        adapter: Adapter,
        rows: Sequence[int],
        crystals: Sequence[Structure],
        max_atoms: int,
        seed: int,
        checkpoint: Checkpoint,
    ) -> None:
        self._adapter, self._rows, self._crystals, self._max_atoms = adapter, rows, crystals, max_atoms
        self._seed, self._checkpoint = seed, checkpoint
        saved = checkpoint.load() or {"done": [], "tried": {}}
        self.done = [_restored(row) for row in saved["done"]]
        self._tried: dict[Kind, int] = saved["tried"]

    def make(self, kind: Kind, wanted: int) -> int:
        """Make up to ``wanted`` configurations of a kind; gives their number."""
        number = sum(c.kind == kind for c in self.done)
        while number < wanted and self._tried.get(kind, 0) < TRIES * (wanted + 1):
            made = self._some(kind, min(TOGETHER, wanted - number))
            number += len(made)
            self.done += made
            self._checkpoint.save({"done": [_saved(c) for c in self.done], "tried": self._tried})
        return number

    def _some(self, kind: Kind, count: int) -> list[Configured]:
        """Configurations of the next crystals, as far as they have some that the potential can take."""
        tried, before = self._tried.get(kind, 0), sum(self._tried.values())
        self._tried[kind] = tried + count
        where = [(before + k) % len(self._rows) for k in range(count)]
        rngs = [np.random.default_rng((self._seed, list(MAKERS).index(kind), tried + k)) for k in range(count)]
        made = MAKERS[kind](self._adapter, [self._crystals[i] for i in where], rngs, self._max_atoms)
        found = [(i, c) for i, c in zip(where, made, strict=True) if c is not None]
        usable = usable_crystals(self._adapter, [""] * len(found), [c.structure for _, c in found], graphs=True)
        return [Configured(kind, self._rows[found[k][0]], found[k][1]) for k in usable.rows]


def _saved(one: Configured) -> dict[str, Any]:
    """A configuration in numbers and texts."""
    told = asdict(one.configuration) | {"structure": one.configuration.structure.as_dict()}
    return {"kind": one.kind, "row": one.row, "configuration": told}


def _restored(saved: dict[str, Any]) -> Configured:
    """A configuration from what :func:`_saved` gave."""
    told = saved["configuration"]
    configuration = Configuration(**told | {"structure": Structure.from_dict(told["structure"])})
    return Configured(saved["kind"], saved["row"], configuration)
