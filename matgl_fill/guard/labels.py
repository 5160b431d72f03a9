"""The guard of potentials that learn from labels: truth on labels held out, and no drift outside of the class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from pymatgen.core import Structure
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from matgl_fill.adapters import Adapter, Graph, Predictions, predict
from matgl_fill.config import GuardConfig
from matgl_fill.evaluation import LabelComparison, LabelErrors, compare_errors, potential_errors
from matgl_fill.evaluation.potential import LabelArrays
from matgl_fill.guard.checks import Check
from matgl_fill.guard.guard import ALPHAS, Verdict, averaged, interpolate
from matgl_fill.structures import elements_of, formulas_of
from matgl_fill.structures.elements import element_shares

FEW_LABELS = 20
"""Number of labelled crystals below which none judges: what is left could neither teach nor judge."""
FOLDS = 4
"""Number of parts of the labels: as many copies learn, each from all parts but one, on which it is judged."""
FEW_FORMULAS = 8
"""Number of formulas that judge below which the bootstrap draws single crystals: so few formulas give no interval.
As many crystals have to judge at least."""
NEAR = 0.9
"""Quantile of the latent distances between labelled crystals of different formulas, up to which a crystal of the
class's elements belongs to the class."""
SHIFT_RIDGE = 0.1
"""Ridge of the elemental shifts that are taken out of a drift of energies; rare elements would explain all."""


class LabelledCrystals(Protocol):
    """Crystals with labels."""

    @property
    def structures(self) -> Sequence[Structure]:
        """The n crystals."""

    @property
    def labels(self) -> LabelArrays:
        """Their labels."""


@dataclass(frozen=True)
class Fold:
    """Part of the labelled crystals that judges a copy of a potential, which learns from the others.

    Attributes:
        taught: Rows that the copy learns from.
        judged: Rows that it is judged on.
    """

    taught: np.ndarray
    judged: np.ndarray


def folds_by_formula(structures: Sequence[Structure], seed: int) -> list[Fold]:
    """Folds of labelled crystals, whole formulas; none where too few crystals could judge.

    A crystal judges a copy only if the copy learnt of all its elements: crystals of a formula that alone shows an
    element, as in a class of elemental crystals, are shared out one by one, and where there is one crystal of it, this
    judges nothing. Where there are fewer formulas than folds, all crystals are shared out one by one.

    Args:
        structures: The n labelled crystals.
        seed: Seed of the shares.
    """
    n = len(structures)
    if n < FEW_LABELS:
        return []
    formulas, elements = formulas_of(structures), [{e.symbol for e in s.elements} for s in structures]
    shown = Counter(symbol for symbols in dict(zip(formulas, elements, strict=True)).values() for symbol in symbols)
    single = len(set(formulas)) < FOLDS
    groups = [
        f"{formula} {i}" if single or any(shown[symbol] == 1 for symbol in symbols) else formula
        for i, (formula, symbols) in enumerate(zip(formulas, elements, strict=True))
    ]
    folds = []
    for rest, held in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(groups, groups=groups):
        learnt = set().union(*(elements[i] for i in rest))
        judged = np.array([i for i in held if elements[i] <= learnt], dtype=int)
        folds.append(Fold(np.setdiff1d(np.arange(n), judged), judged))
    return folds if sum(len(fold.judged) for fold in folds) >= FEW_FORMULAS else []


class CrystalClass:
    """The class of crystals that labelled ones show: their elements, and how far they lie from each other.

    Args:
        adapter: Adapter of the original potential.
        labelled: The labelled crystals.
    """

    def __init__(self, adapter: Adapter, labelled: Sequence[Structure]) -> None:
        self.elements = elements_of(labelled)
        Z = adapter.embed_graphs(adapter.graphs(labelled))[0].astype(float)
        self._scaler = StandardScaler().fit(Z)
        X, formulas = self._scaler.transform(Z), np.array(formulas_of(labelled))
        self._neighbours = NearestNeighbors(n_neighbors=1).fit(X)
        apart = np.linalg.norm(X[:, None] - X[None], axis=2)
        apart[formulas[:, None] == formulas[None]] = np.inf
        nearest = apart.min(axis=1)
        nearest = nearest[np.isfinite(nearest)]
        self._reach = float(np.quantile(nearest, NEAR)) if len(nearest) else 0.0

    def has_elements_of(self, structure: Structure) -> bool:
        """Whether a crystal is made of the class's elements alone."""
        return structure.chemical_system_set <= set(self.elements)

    def outside(self, adapter: Adapter, structures: Sequence[Structure], graphs: Sequence[Graph]) -> np.ndarray:
        """Mask (n,) of crystals that are not of the class: of other elements, or far from all labelled crystals."""
        X = self._scaler.transform(adapter.embed_graphs(graphs)[0].astype(float))
        far = self._neighbours.kneighbors(X)[0][:, 0] > self._reach
        return far | ~np.array([self.has_elements_of(s) for s in structures], dtype=bool)


@dataclass(frozen=True)
class Drift:
    """Change of a potential on crystals outside of its class.

    Attributes:
        energy: Mean change of the energy in eV/atom, elemental shifts apart.
        forces: Mean change of the forces over their mean.
    """

    energy: float
    forces: float

    @classmethod
    def of(cls, structures: Sequence[Structure], before: Predictions, after: Predictions) -> Drift:
        """Measure the change between predictions for the same n crystals."""
        shares = element_shares(structures, elements_of(structures))
        n_atoms = np.array([len(s) for s in structures])
        change = (after.energy - before.energy) / n_atoms
        shifts = np.linalg.solve(shares.T @ shares + SHIFT_RIDGE * np.eye(shares.shape[1]), shares.T @ change)
        was, now = np.concatenate(before.forces), np.concatenate(after.forces)
        return cls(float(np.abs(change - shares @ shifts).mean()), float(np.abs(now - was).mean() / np.abs(was).mean()))


@dataclass(frozen=True)
class LabelVerdict:
    """Verdict of :class:`LabelGuard`, with what it rests on.

    Attributes:
        verdict: Decision, weight and checks.
        comparison: Errors on labels before and after, at that weight, of each crystal by a copy that had not learnt
            from its formula; None where none judged.
        unjudged: What could not be judged, in words.
    """

    verdict: Verdict
    comparison: LabelComparison | None
    unjudged: tuple[str, ...]


class LabelGuard:
    """Judge of a potential that learnt from labels, by cross-validation.

    The potential that is handed over is the mean of the weights of several copies. Each has learnt from all labels but
    those of one fold, on which it is judged: every label judges, by weights that have not seen its formula. Their mean
    has learnt from all labels, and errs less than they do.

    Errors have to fall: those of forces significantly (by a bootstrap over formulas), those of energies too; none of
    energy, forces, large forces, stress and forces at rest may be significantly worse. Outside of the class nothing but
    elemental shifts may move beyond the budgets. Otherwise the weights are interpolated back.

    Args:
        original: Adapter of the original potential.
        parts: What each copy is judged on, with labels at the potential's level of theory; there may be none.
        elsewhere: Crystals outside of the class.
        budgets: Changes that are allowed there.
    """

    def __init__(
        self,
        original: Adapter,
        parts: Sequence[LabelledCrystals],
        elsewhere: Sequence[Structure],
        budgets: GuardConfig,
    ) -> None:
        self._parts, self._budgets = parts, budgets
        self._before: LabelErrors | None = self._errors([original] * len(parts)) if parts else None
        self._elsewhere = list(elsewhere)
        self._graphs = original.graphs(self._elsewhere)
        self._predicted = predict(original, self._graphs, "predicting crystals outside of the class")

    def judge(
        self, original: Adapter, copies: Sequence[Adapter], placed: Callable[[Adapter], Adapter]
    ) -> tuple[Adapter, LabelVerdict]:
        """Interpolate from the tuned weights towards the original ones until every check passes.

        Args:
            original: Adapter of the original potential.
            copies: Adapters of the trained copies, one for each part, or one alone where there is none.
            placed: Function that puts a copy's weights to use: as they are, or gated by the class's elements.

        Returns:
            The adapter of the accepted potential (a copy of the original if none passed) and the verdict.
        """
        tried: dict[float, tuple[str, ...]] = {}
        whole = averaged(copies)
        for alpha in ALPHAS:
            candidate = placed(interpolate(original, whole, alpha))
            checks, comparison = self._measured(candidate, [placed(interpolate(original, c, alpha)) for c in copies])
            tried[alpha] = tuple(c.measure for c in checks if not c.passed)
            if not tried[alpha]:
                verdict = Verdict(True, alpha, checks, tried)
                return candidate, LabelVerdict(verdict, comparison, self._unjudged(comparison))
        verdict = Verdict(False, 0.0, checks, tried)
        return original.clone(), LabelVerdict(verdict, comparison, self._unjudged(comparison))

    def _errors(self, copies: Sequence[Adapter]) -> LabelErrors:
        """Errors of copies on their parts; where these are of few formulas, each crystal counts as one of its own."""
        pairs = zip(copies, self._parts, strict=True)
        found = LabelErrors.joined([potential_errors(copy, part.structures, part.labels) for copy, part in pairs])
        if len(set(found.formulas)) >= FEW_FORMULAS:
            return found
        return replace(found, formulas=[f"{formula} {k}" for k, formula in enumerate(found.formulas)])

    def _measured(
        self, candidate: Adapter, copies: Sequence[Adapter]
    ) -> tuple[tuple[Check, ...], LabelComparison | None]:
        """Every measure of one candidate, and the errors of the copies that it is the mean of."""
        comparison = None
        checks: list[Check] = []
        if self._before is not None:
            comparison = compare_errors(self._before, self._errors(copies))
            checks = _label_checks(comparison)
        if self._elsewhere:
            drift = Drift.of(self._elsewhere, self._predicted, predict(candidate, self._graphs, "the same, tuned"))
            checks += [
                Check.at_most("energy outside of the class", drift.energy, self._budgets.max_energy_drift, "eV/atom"),
                Check.at_most("forces outside of the class", drift.forces, self._budgets.max_force_drift, "relative"),
            ]
        return tuple(checks), comparison

    def _unjudged(self, comparison: LabelComparison | None) -> tuple[str, ...]:
        """What the labels held out cannot say."""
        if comparison is None:
            return (
                "errors were not measured and may have grown: labels are held out only of "
                f"{FEW_LABELS} or more crystals that share elements; measure the errors on other labels",
            )
        known = {name: comparison.change(name) for name in ("energy", "forces", "stress", "forces at rest")}
        missing = [name for name, change in known.items() if change is None or change.n < FEW_FORMULAS]
        few = f"not judged, because fewer than {FEW_FORMULAS} crystals have labels: {', '.join(missing)}"
        return (few,) if missing else ()


def _label_checks(comparison: LabelComparison) -> list[Check]:
    """Checks of the errors on labels that were not learnt from: what is certain at 95 %, which has to be small.

    The first quantity with labels, forces before energies, has to fall significantly, and the energies have to fall.
    What only a few crystals have labels for can fail nothing: a bootstrap over these would call any change certain.
    """
    checks, led = [], False
    changes = {c.measure: c for c in comparison.changes}
    for name in ("forces", "energy", "large forces", "stress", "forces at rest"):
        if (change := changes.get(name)) is None or change.n < FEW_FORMULAS:
            continue
        certain = name in ("forces", "energy") and not led and not np.isnan(change.high)
        led = led or name in ("forces", "energy")
        falls = certain or name == "energy"
        if change.before == 0:  # nothing can become better, and anything is worse
            value, what = (np.inf if change.after > 0 else 0.0), f"error of {name}, zero before"
        elif certain:
            value, what = change.high, f"error of {name} (has to fall, 95 % certain)"
        elif name == "energy":
            value, what = change.change_percent, "error of energy (has to fall)"
        else:
            value = change.change_percent if np.isnan(change.low) else change.low
            what = f"error of {name} (must not rise, 95 % certain)"
        checks.append(Check(what, float(value), 0.0, "%", bool(value < 0 if falls else value <= 0)))
    return checks
