"""A potential's correction in closed form, solved from an oracle's labels without gradient steps or changed weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from pymatgen.core import Structure
from scipy.linalg import eigh, solve
from scipy.spatial.distance import cdist

from matgl_fill.adapters import Adapter, KernelCorrection, backend
from matgl_fill.config import GuardConfig
from matgl_fill.guard.scales import force_scale, small_rows
from matgl_fill.training.correction.tangents import Tangents, tangents
from matgl_fill.training.labels import LabelledSet, Labels
from matgl_fill.utils.console import track

CENTRES = 512
"""Largest number of Gaussians; each stands at an environment of a labelled crystal."""
WIDTHS = (0.25, 0.5, 1.0, 2.0)
"""Widths that are tried, over the median distance from a labelled environment to the nearest of the reference set."""
RIDGES = (1e-4, 1e-2, 1.0)
"""Penalties of the correction's norm that are tried."""
ENERGY, FORCE, STRESS = 0.01, 0.05, 0.005
"""Errors that count as 1: eV/atom, eV/Angstrom, eV/Angstrom^3."""
MARGIN = 0.5
"""Share of the guard's budgets that the correction may use on the reference set."""
FOLDS = 5
LEAST_GAIN = 0.05
"""Fraction by which the force error of crystals that were left out has to fall."""
RANK = 1e-6
"""Smallest eigenvalue of the kernel matrix, over the largest, that is kept."""
ROUNDING = 1e-15
"""Least penalty over the trace of the equations: below it the solution is rounding."""

DISPLACEMENTS, STRAINS = 16, 3
"""Numbers of directions in which a labelled crystal is differentiated."""
REFERENCE, REFERENCE_DISPLACEMENTS = 160, 4
"""Number of reference crystals, on which nothing is to change, and number of directions of each."""
REFERENCE_ATOMS, REFERENCE_LEAST = 16, 10
"""Largest number of atoms of a reference crystal, and number of such crystals below which the smallest are taken."""


@dataclass(frozen=True)
class Rows:
    """Linear equations for the weights of the Gaussians, one crystal after the other.

    Attributes:
        energy: Energy of each Gaussian, (n, K), eV/atom.
        slopes: Derivatives of the energies along the directions, (m, K), eV/Angstrom, or eV/Angstrom^3 for strains.
        owner: Number of the crystal of each direction, (m,).
        cell: Whether each direction is a strain, (m,).
    """

    energy: np.ndarray
    slopes: np.ndarray
    owner: np.ndarray
    cell: np.ndarray


@dataclass(frozen=True)
class CorrectionFacts:
    """How a correction was chosen and what it is worth.

    Attributes:
        width: Width of the Gaussians, over the median distance from a labelled environment to the nearest of the
            reference set.
        ridge: Penalty of the correction's norm.
        scale: Factor, 1 at most, that keeps the reference set within the budgets.
        crystals: Number of labelled crystals.
        reference_crystals: Number of crystals on which nothing is to change.
        environments: Number of environments at which a Gaussian stands.
        force_error_left_out_before: Force error of labelled crystals without a correction, eV/Angstrom.
        force_error_left_out_after: Force error of labelled crystals with a correction that they were left out of,
            eV/Angstrom.
    """

    width: float
    ridge: float
    scale: float
    crystals: int
    reference_crystals: int
    environments: int
    force_error_left_out_before: float
    force_error_left_out_after: float


@dataclass(frozen=True)
class CorrectionOutcome:
    """Correction that was solved from labels, and how good it is.

    Attributes:
        correction: Correction of energies in eV; None where no correction helps on crystals that were left out of it.
        facts: Sizes, choices, and errors without and with a correction; None where the labels hold no forces.
    """

    correction: KernelCorrection | None
    facts: CorrectionFacts | None

    @property
    def unsupported_reason(self) -> str | None:
        """Why there is no correction; None if there is one."""
        if self.correction is not None:
            return None
        if self.facts is None:
            return "the labels hold no forces, which are needed to judge a correction"
        before, after = self.facts.force_error_left_out_before, self.facts.force_error_left_out_after
        return (
            f"it does not lower the force error of labelled crystals left out of its fit ({after:.4f} eV/A with it, "
            f"{before:.4f} eV/A without)"
        )


@dataclass(frozen=True)
class Targets:
    """Values that the Gaussians are to add to the potential on labelled crystals, in the order of :class:`Rows`.

    Attributes:
        energy: Energies, (n,), eV/atom, NaN where they are not known.
        slopes: Derivatives along the directions, (m,), NaN where they are not known.
    """

    energy: np.ndarray
    slopes: np.ndarray

    @classmethod
    def of(cls, crystals: Sequence[Tangents], labels: Labels) -> Targets:
        """Targets of labelled crystals: the oracle's values minus the potential's."""
        energy = [(e - t.energy) / len(t) for t, e in zip(crystals, labels.energy, strict=True)]
        slopes = []
        for t, f, s in zip(crystals, labels.forces, labels.stress, strict=True):
            q = len(t.displacements)
            slopes.append(-np.einsum("qnc,nc->q", t.displacements, f) - t.slopes[:q])
            slopes.append(np.einsum("pij,ij->p", t.strains, s) - t.slopes[q:] / t.volume)
        return cls(np.array(energy), np.concatenate(slopes))


class Kernel:
    """Gaussians of one width at given centres.

    Args:
        origin: Origin of the coordinates, (d,).
        spread: Unit of the coordinates, (d,).
        centres: Standardised centres, (K, d).
        width: Width of the Gaussians, in standardised coordinates.
    """

    def __init__(self, origin: np.ndarray, spread: np.ndarray, centres: np.ndarray, width: float) -> None:
        self.origin, self.spread, self.centres, self.width = origin, spread, centres, width
        values, vectors = eigh(np.exp(-cdist(centres, centres, "sqeuclidean") / (2 * width**2)))
        kept = values > RANK * values[-1]
        self.basis = vectors[:, kept] / np.sqrt(values[kept])
        """Weights (K, r) of basis functions that are orthonormal in the kernel's own norm."""

    def rows(self, crystals: Sequence[Tangents]) -> Rows:
        """Energies and slopes of the basis functions on crystals."""
        energy, slopes, owner, cell = [], [], [], []
        for i, t in enumerate(crystals):
            s = (t.atoms - self.origin) / self.spread
            k = np.exp(-cdist(s, self.centres, "sqeuclidean") / (2 * self.width**2))
            along = t.along / self.spread
            moved = along @ self.centres.T - np.einsum("qnd,nd->qn", along, s)[..., None]
            found = np.einsum("qnk,nk->qk", moved, k) / self.width**2
            q = len(t.displacements)
            found[q:] /= t.volume
            energy.append(k.sum(axis=0) / len(t))
            slopes.append(found)
            owner += [i] * len(found)
            cell += [False] * q + [True] * (len(found) - q)
        return Rows(np.array(energy) @ self.basis, np.concatenate(slopes) @ self.basis, np.array(owner), np.array(cell))

    def correction(self, coefficients: np.ndarray) -> KernelCorrection:
        """The correction as a module, from coefficients (r,) of the basis functions."""
        new = KernelCorrection(*self.centres.shape)
        parts = {"origin": self.origin, "spread": self.spread, "centres": self.centres, "width": self.width}
        parts["weights"] = self.basis @ coefficients
        new.load_state_dict({name: torch.tensor(value, dtype=torch.float32) for name, value in parts.items()})
        return new


def normal_equations(rows: Rows, targets: Targets, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and right-hand vector of the mean squared errors, over their units, of the crystals ``chosen`` (n,)."""
    rank = rows.energy.shape[1]
    A, b = np.zeros((rank, rank)), np.zeros(rank)
    here = chosen[rows.owner]
    parts = (
        (rows.energy, targets.energy, chosen, ENERGY),
        (rows.slopes, targets.slopes, here & ~rows.cell, FORCE),
        (rows.slopes, targets.slopes, here & rows.cell, STRESS),
    )
    for X, y, mask, unit in parts:
        good = mask & np.isfinite(y)
        if good.any():
            scale = good.sum() * unit**2
            A, b = A + X[good].T @ X[good] / scale, b + X[good].T @ y[good] / scale
    return A, b


def can_correct(adapter: Adapter) -> bool:
    """Whether a model takes a correction; it has to be a potential on PyG, whose core gives features at every call."""
    return adapter.is_potential and backend.NAME == "PYG"


def make_correction(
    adapter: Adapter,
    labelled: LabelledSet,
    pool: Sequence[Structure],
    budgets: GuardConfig,
    seed: int,
    keep: Callable[[int, Callable[[], Tangents]], Tangents] = lambda _, make: make(),
) -> CorrectionOutcome:
    """Make the correction of a potential by labelled crystals; see :func:`solve_correction`.

    Args:
        adapter: Adapter of the potential.
        labelled: Crystals and their labels, aligned to the potential's level of theory.
        pool: Crystals from which the reference set is drawn, without those that the guard judges on.
        budgets: Changes that are allowed on the reference set.
        seed: Seed of directions, centres and the reference set.
        keep: Function that gives the derivatives of a crystal by its number: the saved ones, or those that it makes.
    """
    crystals, labels = labelled.structures, labelled.labels
    rng = np.random.default_rng(seed)
    if not any(np.isfinite(f).any() for f in labels.forces):
        return CorrectionOutcome(None, None)
    small = small_rows(np.array([len(s) for s in pool]), REFERENCE_ATOMS, REFERENCE_LEAST)
    reference = [pool[i] for i in rng.permutation(small)[:REFERENCE]]
    asked = [(s, DISPLACEMENTS, STRAINS) for s in crystals] + [(s, REFERENCE_DISPLACEMENTS, 0) for s in reference]
    found = []
    for k, (structure, moves, strains) in enumerate(track(asked, "differentiating")):
        draws = np.random.default_rng([seed, k])
        found.append(keep(k, partial(tangents, adapter, structure, moves, strains, draws)))
    return solve_correction(found[: len(crystals)], labels, found[len(crystals) :], budgets, rng)


def solve_correction(
    labelled: Sequence[Tangents],
    labels: Labels,
    reference: Sequence[Tangents],
    budgets: GuardConfig,
    rng: np.random.Generator,
) -> CorrectionOutcome:
    r"""Solve the correction that brings a potential closest to an oracle while it vanishes on a reference set.

    Energies, forces and stresses are linear in the weights w of the Gaussians, so that w solves

    .. math:: \min_w \; \|A w - b\|^2 + \|A_\mathrm{ref} w\|^2 + \lambda\, w^\top K w

    where b is the oracle's values minus the potential's on the labelled crystals, A_ref are the energies and force
    components on the reference set, in units of what the guard allows there, and K is the kernel matrix: this is kernel
    ridge regression in the metric of the reference set. Width and λ are those with the smallest force error on crystals
    that were left out (``FOLDS`` contiguous parts, for frames of a simulation that follow each other are alike), where
    each correction is first scaled down until the reference set changes by no more than ``MARGIN`` of the budgets. Half
    of the reference set enters the equations, the other half measures that change.

    Args:
        labelled: The n labelled crystals with their derivatives.
        labels: Labels of these crystals, aligned to the potential's level of theory; values that are NaN are left out.
        reference: Crystals on which nothing is to change.
        budgets: Changes that are allowed on the reference crystals.
        rng: Generator that draws the centres.
    """
    frame = _Frame.of(labelled, reference, rng)
    targets = Targets.of(labelled, labels)
    parts = np.array_split(np.arange(len(labelled)), min(FOLDS, len(labelled)))
    subsets = [~np.isin(np.arange(len(labelled)), part) for part in [*parts, np.array([], dtype=int)]]
    allowed = _allowed_changes(reference[1::2], budgets)
    best: tuple[float, Kernel, np.ndarray, dict[str, float]] | None = None
    for factor in WIDTHS:
        kernel = Kernel(frame.origin, frame.spread, frame.centres, factor * frame.unit)
        rows = kernel.rows(labelled)
        held, judged = (kernel.rows(half) for half in (reference[::2], reference[1::2]))
        systems = [(chosen, *normal_equations(rows, targets, chosen)) for chosen in subsets]
        protection = _protection(held, allowed)
        least = ROUNDING * np.trace(systems[-1][1] + protection)
        for ridge in RIDGES:
            penalty = protection + max(ridge, least) * np.eye(len(protection))
            error, scale, w = _cross_validated(rows, targets, systems, penalty, judged, allowed)
            if best is None or error < best[0]:
                best = error, kernel, scale * w, {"width": factor, "ridge": ridge, "scale": round(scale, 4)}
    assert best is not None
    error, kernel, w, chosen = best
    before = float(np.nanmean(np.abs(targets.slopes[~rows.cell])))
    facts = CorrectionFacts(
        **chosen,
        crystals=len(labelled),
        reference_crystals=len(reference),
        environments=len(frame.centres),
        force_error_left_out_before=round(before, 5),
        force_error_left_out_after=round(error, 5),
    )
    return CorrectionOutcome(kernel.correction(w) if error < (1 - LEAST_GAIN) * before else None, facts)


@dataclass(frozen=True)
class _Frame:
    """Coordinates of the Gaussians.

    Attributes:
        origin: Origin of the coordinates, (d,).
        spread: Unit of the coordinates, (d,): the deviation over the atoms of the reference set.
        centres: Standardised environments at which a Gaussian stands, (K, d).
        unit: Median distance from a centre to the nearest atom of the reference set.
    """

    origin: np.ndarray
    spread: np.ndarray
    centres: np.ndarray
    unit: float

    @classmethod
    def of(cls, labelled: Sequence[Tangents], reference: Sequence[Tangents], rng: np.random.Generator) -> _Frame:
        """Draw the centres from the atoms of the labelled crystals."""
        atoms = np.concatenate([t.atoms for t in labelled])
        others = np.concatenate([t.atoms for t in reference])
        origin, spread = atoms.mean(axis=0), np.maximum(others.std(axis=0), 1e-3 * others.std())
        drawn = np.sort(rng.permutation(len(atoms))[:CENTRES])
        centres = (atoms[drawn] - origin) / spread
        unit = float(np.median(cdist(centres, (others - origin) / spread).min(axis=1)))
        return cls(origin, spread, centres, max(unit, float(np.median(cdist(centres, centres))) / 10))


def _allowed_changes(reference: Sequence[Tangents], budgets: GuardConfig) -> tuple[float, float]:
    """Allowed changes on the reference set: of the energy in eV/atom, and of force components in eV/Angstrom."""
    forces = np.concatenate([t.slopes[: len(t.displacements)] for t in reference])
    return MARGIN * budgets.max_energy_shift, MARGIN * budgets.max_force_drift * force_scale(forces)


def _protection(held: Rows, allowed: tuple[float, float]) -> np.ndarray:
    """Matrix of the mean squared changes on the reference set, over what is allowed."""
    X = held.slopes[~held.cell]
    return held.energy.T @ held.energy / (len(held.energy) * allowed[0] ** 2) + X.T @ X / (len(X) * allowed[1] ** 2)


def _cross_validated(
    rows: Rows,
    targets: Targets,
    systems: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    penalty: np.ndarray,
    judged: Rows,
    allowed: tuple[float, float],
) -> tuple[float, float, np.ndarray]:
    """Force error of crystals left out (eV/Angstrom), allowed scale and coefficients of one width and penalty.

    Args:
        rows: Rows of all labelled crystals.
        targets: Targets of all labelled crystals.
        systems: Crystals (n,) that are learnt from, and their normal equations, without each part in turn and with all
            crystals last.
        penalty: Matrix that is added to the equations.
        judged: Rows of the reference crystals on which the change is measured.
        allowed: Largest allowed changes of energy and force components.
    """

    def allowed_scale(w: np.ndarray) -> float:
        changes = abs(float((judged.energy @ w).mean())), float(np.abs(judged.slopes[~judged.cell] @ w).mean())
        return min(1.0, *(most / max(change, 1e-12) for most, change in zip(allowed, changes, strict=True)))

    errors = np.full(len(rows.owner), np.nan)
    for chosen, A, b in systems:
        w, out = np.asarray(solve(A + penalty, b, assume_a="pos")), ~chosen[rows.owner]
        scale = allowed_scale(w)
        errors[out] = targets.slopes[out] - scale * (rows.slopes[out] @ w)
    return float(np.nanmean(np.abs(errors[~rows.cell]))), scale, w
