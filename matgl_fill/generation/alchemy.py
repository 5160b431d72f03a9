"""Elements by gradient: atoms are mixtures of elements while a crystal descends on the distance to a latent target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor

from matgl_fill.adapters import Adapter, Batch, evaluation_mode, in_threads
from matgl_fill.utils.scaling import Scaling

STEPS = (10, 20)
"""Number of steps of descent, of all crystals and then of the nearest."""
KEPT = 2
"""Number of crystals per target that go on after the first steps."""
RATE = 0.3
"""Learning rate of the logarithms of the shares."""
VOLUME_RATE = 0.01
"""Learning rate of the linear strain."""
FAVOUR = 3.0
"""Logarithm by which an element of the crystal starts above the others."""
UNLIKELY = 1e-3
"""Share at which an element starts that the prior does not expect."""
COLDEST = 0.3
"""Temperature of the shares at the end, 1 at the start."""
PURITY = 0.3
"""Weight of the shares' entropy at the end, 0 at the start, over the logarithm of the squared distance."""
FORBIDDEN = -1e9
"""Logarithm of the share of an element that may not be used."""


@dataclass
class Mixture:
    """A crystal whose atoms are mixtures of elements.

    Attributes:
        structure: Crystal that gives the sites.
        parent: Row of that crystal in the pool.
        target: Row of the target.
        logits: Logarithms of the shares (k, elements), for each of the k elements of ``structure``.
        stretch: Linear strain.
        distance: Scaled latent distance to the target.
    """

    structure: Structure
    parent: int
    target: int
    logits: Tensor
    stretch: float = 0.0
    distance: float = np.inf

    def crystals(self, elements: Sequence[str], draws: int, rng: np.random.Generator) -> list[tuple[Structure, str]]:
        """Draw crystals of whole elements; also returns what was replaced in each.

        Args:
            elements: Symbols of the elements that the shares are of.
            draws: Number of crystals whose elements are drawn by their shares, after the one of the likeliest.
            rng: Generator of the draws.
        """
        present = symbols(self.structure)
        shares = torch.softmax(self.logits.double(), dim=1).cpu().numpy()
        picks = [shares.argmax(axis=1).tolist()]
        picks += [[int(rng.choice(len(row), p=row / row.sum())) for row in shares] for _ in range(draws)]
        made = []
        for pick in dict.fromkeys(map(tuple, picks)):
            chosen = [elements[i] for i in pick]
            new = self.structure.copy()
            new.replace_species(dict(zip(present, chosen, strict=True)))
            new.scale_lattice(self.structure.volume * (1 + self.stretch) ** 3)
            record = ", ".join(f"{a}->{b}" for a, b in zip(present, chosen, strict=True) if a != b)
            made.append((new, record or "resized"))
        return made


def symbols(structure: Structure) -> list[str]:
    """Elements of a crystal in the order of their first sites."""
    return list(dict.fromkeys(s.symbol for s in structure.species))


def start(adapter: Adapter, structure: Structure, parent: int, target: int, likely: Mapping[str, float]) -> Mixture:
    """Make a mixture that is nearly ``structure``, and open to the elements of ``likely`` by their fractions."""
    fractions = [likely.get(e) for e in adapter.element_types]
    row = torch.tensor([FORBIDDEN if f is None else np.log(f + UNLIKELY) for f in fractions], dtype=torch.float32)
    logits = row.repeat(len(symbols(structure)), 1)
    for k, symbol in enumerate(symbols(structure)):
        logits[k, adapter.element_types.index(symbol)] += FAVOUR
    return Mixture(structure, parent, target, logits)


def transmute(
    adapter: Adapter, mixtures: Sequence[Mixture], goals: np.ndarray, scaling: Scaling[np.ndarray]
) -> list[Mixture]:
    """Bring the embedding of mixtures nearer to their targets, by descent in the elements' shares and the volume.

    Adam minimises the logarithm of the squared scaled distance, through the vectors that the model gives to elements;
    atoms of one element stay alike and the sites stay where they are. The shares are cooled until nearly every atom is
    one element. So one descent weighs all elements at once, which a search would try one after another.

    Args:
        adapter: Adapter of the model.
        mixtures: Mixtures to start from.
        goals: Scaled targets (m, dim).
        scaling: Scaling of the latent space.

    Returns:
        The :data:`KEPT` nearest mixtures of every target, nearest first.
    """
    first, last = range(STEPS[0]), range(STEPS[0], sum(STEPS))
    best = _nearest(_descend(adapter, mixtures, goals, scaling, first))
    return _nearest(_descend(adapter, best, goals, scaling, last))


def _nearest(mixtures: Sequence[Mixture]) -> list[Mixture]:
    """The :data:`KEPT` nearest of every target."""
    seen: Counter[int] = Counter()
    out = []
    for m in sorted(mixtures, key=lambda m: (m.target, m.distance)):
        seen[m.target] += 1
        if seen[m.target] <= KEPT:
            out.append(m)
    return out


def _descend(
    adapter: Adapter, mixtures: Sequence[Mixture], goals: np.ndarray, scaling: Scaling[np.ndarray], steps: range
) -> list[Mixture]:
    """All mixtures after some steps, in batches on threads."""
    graphs = adapter.graphs([m.structure for m in mixtures])
    groups = adapter.groups(graphs)

    def job(local: Adapter, group: list[int]) -> list[Mixture]:
        some = [mixtures[i] for i in group]
        return _descend_batch(local, local.collate([graphs[i] for i in group]), some, goals, scaling, steps)

    out = list(mixtures)
    with evaluation_mode(adapter.model):
        for group, moved in zip(groups, in_threads(adapter.replica(), job, groups), strict=True):
            for i, m in zip(group, moved, strict=True):
                out[i] = m
    return out


def _descend_batch(
    adapter: Adapter,
    batch: Batch,
    mixtures: Sequence[Mixture],
    goals: np.ndarray,
    scaling: Scaling[np.ndarray],
    steps: range,
) -> list[Mixture]:
    """The mixtures of one batch after some steps."""
    like, rows = batch.lattice, goals[[m.target for m in mixtures]]
    target = torch.as_tensor(rows, dtype=like.dtype, device=like.device)
    scaled = scaling.tensors(like.dtype, like.device)
    site = torch.as_tensor(_sites(mixtures), device=like.device)
    logits = torch.cat([m.logits for m in mixtures]).to(like).requires_grad_(True)
    stretch = torch.tensor([m.stretch for m in mixtures], dtype=like.dtype).to(like).requires_grad_(True)
    eye = torch.eye(3, dtype=like.dtype, device=like.device)
    optimiser = torch.optim.Adam([{"params": [logits], "lr": RATE}, {"params": [stretch], "lr": VOLUME_RATE}])
    shares = apart = like.new_empty(0)
    with adapter.mixed_elements(lambda: shares[site]):
        for step in steps:
            late = step / sum(STEPS)
            log_shares = torch.log_softmax(logits / (1 - (1 - COLDEST) * late), dim=1)
            shares = log_shares.exp()
            z = adapter.embed_batch(replace(batch, strain=stretch[:, None, None] * eye))
            apart = ((scaled(z) - target) ** 2).sum(dim=1).clamp_min(1e-12)
            entropy = -(shares * log_shares.clamp_min(-50)).sum()
            optimiser.zero_grad()
            (apart.log().sum() + PURITY * late * entropy).backward(inputs=[logits, stretch])
            optimiser.step()
    parts = torch.split(logits.detach().cpu(), [len(m.logits) for m in mixtures])
    found = zip(mixtures, parts, stretch.tolist(), apart.sqrt().tolist(), strict=True)
    return [replace(m, logits=row, stretch=s, distance=d) for m, row, s, d in found]


def _sites(mixtures: Sequence[Mixture]) -> list[int]:
    """For every atom of all crystals the row of its element among the elements of all crystals."""
    out: list[int] = []
    first = 0
    for m in mixtures:
        present = symbols(m.structure)
        out += [first + present.index(s.symbol) for s in m.structure.species]
        first += len(present)
    return out
