"""What the guard measures on held-out crystals, each measure against its budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from matgl_fill.adapters import Adapter
from matgl_fill.config import GuardConfig
from matgl_fill.embedding import Pool
from matgl_fill.evaluation.probes import kernel_ridge
from matgl_fill.guard.proxies import NAMES, proxies
from matgl_fill.guard.scales import force_scale, small_rows

LEVEL = 0.05
"""Chance that a loss counts as significant where nothing was lost; several probes judged one by one share it."""
PENALTIES = 2.0 ** np.arange(-7, 18)
"""Ridge penalties of the probes: powers of two, so that an embedding doubled by its own copy scores the same."""
FOLDS = 5
"""Number of folds of the probes' cross-validation."""
VARIES = 1e-9
"""Range of a proxy, over its largest value, from which it is used: crystals of one compound have one melting point."""
DIVERGED = "not finite (training diverged; a lower lr may help)"
"""Measure of a model whose embedding or prediction is not finite."""
FORCE_SAMPLE, FORCE_ATOMS, FORCE_LEAST = 60, 24, 5
"""Number of held-out crystals on which the forces of potentials are compared, their largest number of atoms, and the
number of such crystals below which the smallest are taken instead."""


@dataclass(frozen=True)
class Check:
    """One measure of a candidate model, compared with its budget."""

    measure: str
    value: float
    budget: float
    unit: str
    passed: bool

    @classmethod
    def at_most(cls, measure: str, value: float, budget: float, unit: str) -> Check:
        """A measure that passes up to its budget."""
        return cls(measure, value, budget, unit, bool(value <= budget))

    @classmethod
    def diverged(cls, values: int) -> Check:
        """The measure of a model that gives so many values which are no numbers."""
        return cls.at_most(DIVERGED, values, 0, "values")


def probe_errors(Z: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Cross-validated absolute errors (k, n) of ridge regressions to the columns of Y (n, k).

    Each column has its own penalty.

    Args:
        Z: Embedding of the crystals, (n, d).
        Y: Properties of the crystals, (n, k).
    """
    if not Y.size:
        return np.empty(Y.T.shape)
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=PENALTIES, alpha_per_target=True))
    return np.abs(cross_val_predict(model, Z.astype(float), Y, cv=_folds()) - Y).T


def kernel_errors(Z: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Cross-validated absolute errors (k, n) of kernel ridge regressions, on the same folds as :func:`probe_errors`.

    They depend on which crystals are neighbours in the whole embedding. Dimensions that hold nothing but noise, which
    a ridge regression passes over, spoil them.

    Args:
        Z: Embedding of the crystals, (n, d).
        Y: Properties of the crystals, (n, k).
    """
    errors = np.empty(Y.T.shape)
    if Y.size:
        for train, test in _folds().split(Z):
            scaler = StandardScaler().fit(Z[train].astype(float))
            X, X_test = (scaler.transform(Z[rows].astype(float)) for rows in (train, test))
            errors[:, test] = np.abs(kernel_ridge(X, Y[train], X_test) - Y[test]).T
    return errors


def _folds() -> KFold:
    return KFold(FOLDS, shuffle=True, random_state=0)


def significant_loss(before: np.ndarray, after: np.ndarray, judged: int = 1) -> float:
    """Rise of the mean error in percent, as far as it is statistically significant.

    It is the lower end of a one-sided interval of the paired difference: on few held-out crystals the error of a probe
    changes by several percent by chance. The mean over several probes changes less. Differences count as noise as far
    as they scatter no more than the errors did before: a few crystals with very large errors are a loss, which the
    variance that they cause would hide.

    Args:
        before: Absolute errors before, (n,) of one probe or (k, n) of several.
        after: Absolute errors after, of the same shape and on the same crystals.
        judged: Number of probes that are judged one by one. Of nine at 95 %, one would lose by chance in every third
            candidate; the interval is so wide that this chance is :data:`LEVEL` for all of them together (Bonferroni).
    """
    usual, now = (np.atleast_2d(e / before.mean(axis=-1, keepdims=True)).mean(axis=0) for e in (before, after))
    change = now - usual
    noise = min(change.std(), usual.std()) / np.sqrt(len(change))
    return float(100 * (change.mean() - norm.isf(LEVEL / judged) * noise))


def recovery(Z: np.ndarray, original: np.ndarray) -> float:
    """R2 with which a cross-validated linear map recovers the original embedding, over standardised dimensions.

    Args:
        Z: Embedding of the crystals by the tuned model, (n, d).
        original: Embedding of the same crystals by the original, (n, k).
    """
    target = StandardScaler().fit_transform(original.astype(float))
    if not target.any():
        return 1.0  # all crystals are the same, and nothing is to be recovered
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 3, 7)))
    predicted = cross_val_predict(model, Z.astype(float), target, cv=_folds())
    return float(1 - ((predicted - target) ** 2).sum() / (target**2).sum())


@dataclass(frozen=True)
class Measured:
    """What a candidate model gives of the crystals that the guard judges by.

    Attributes:
        adapter: Adapter of the candidate.
        Z: Its embedding of the m crystals, (m, dim).
        drift: Change of its predictions from the original's on the n held-out ones, (n,), per atom where they are
            extensive.
        errors: Errors of its k proxy probes by ridge regression and of the same k by kernel ridge regression, (2k, m).
    """

    adapter: Adapter
    Z: np.ndarray
    drift: np.ndarray
    errors: np.ndarray


class HeldOutChecks:
    """The checks of the guard; a new one is a method that :meth:`measure` calls.

    Args:
        adapter: Adapter of the original model.
        pool: The n held-out pool crystals, with the original's embedding and predictions; neither objectives nor replay
            saw them.
        budgets: Changes that are allowed.
        more: Further crystals that training did not see, on which embeddings are judged too where the held-out ones are
            few; what is predicted is judged on the held-out ones alone.
        must_gain: Whether the proxy probes have to gain, and not only to lose nothing.
    """

    def __init__(
        self, adapter: Adapter, pool: Pool, budgets: GuardConfig, more: Pool | None = None, must_gain: bool = False
    ) -> None:
        self.pool, self.budgets, self.must_gain = pool, budgets, must_gain
        self.judged = pool.joined(more) if more else pool
        every = proxies(self.judged.structures)
        varies = np.ptp(every, axis=0) > VARIES * np.abs(every).max(axis=0)
        self.names, self.proxies = np.array(NAMES)[varies].tolist(), every[:, varies]
        self.errors = self._errors(self.judged.Z)
        self.small = [pool.graphs[i] for i in small_rows(pool.n_atoms, FORCE_ATOMS, FORCE_LEAST)[:FORCE_SAMPLE]]
        self.forces = adapter.forces(self.small) if adapter.is_potential else None

    def measure(self, adapter: Adapter) -> tuple[tuple[Check, ...], np.ndarray]:
        """Checks of one candidate model and errors of its probes, (2k, m); (0, m) where its training diverged."""
        Z, y = adapter.embed_graphs(self.judged.graphs)
        if lost := int((~np.isfinite(Z)).sum() + (~np.isfinite(y)).sum()):
            return (Check.diverged(lost),), np.empty((0, len(y)))
        drift = adapter.intensive(y[: len(self.pool)], self.pool.n_atoms) - self._predictions(adapter)
        found = Measured(adapter, Z, drift, self._errors(Z))
        parts = (self._predictions_hold, self._potential_holds, self._embedding_is_recovered, self._probes_hold)
        return tuple(check for part in parts for check in part(found)), found.errors

    def _errors(self, Z: np.ndarray) -> np.ndarray:
        """Errors (2k, m) of the proxy probes on an embedding (m, dim), by ridge and by kernel ridge regression."""
        return np.vstack([probe_errors(Z, self.proxies), kernel_errors(Z, self.proxies)])

    def _predictions(self, adapter: Adapter) -> np.ndarray:
        """(n,) predictions of the original, per atom where they are extensive."""
        return adapter.intensive(self.pool.y, self.pool.n_atoms)

    def _predictions_hold(self, found: Measured) -> list[Check]:
        spread = float(np.std(self._predictions(found.adapter)))
        drift = float(np.abs(found.drift).mean()) / max(spread, 1e-9)
        return [Check.at_most("prediction drift", drift, self.budgets.max_prediction_drift, "of its deviation")]

    def _potential_holds(self, found: Measured) -> list[Check]:
        """Mean energy and forces, of potentials."""
        if self.forces is None:
            return []
        shift = abs(float(found.drift.mean()))
        change = np.abs(found.adapter.forces(self.small) - self.forces).mean() / force_scale(self.forces)
        return [
            Check.at_most("mean energy shift", shift, self.budgets.max_energy_shift, "eV/atom"),
            Check.at_most("force drift", float(change), self.budgets.max_force_drift, "of the mean force"),
        ]

    def _embedding_is_recovered(self, found: Measured) -> list[Check]:
        if len(found.adapter.cores) > 1:  # the original embedding is part of the new one
            return []
        kept, least = recovery(found.Z, self.judged.Z) / self.recoverable, self.budgets.min_recovery
        return [Check("original embedding recovered", kept, least, "of R2", kept >= least)]

    def _probes_hold(self, found: Measured) -> list[Check]:
        """Every proxy by ridge regression, and the mean of all by both probes."""
        pairs = zip(self.names, self.errors, found.errors, strict=False)  # the first half, by ridge regression
        losses = {name: significant_loss(was, now, judged=len(self.names)) for name, was, now in pairs}
        if losses:
            losses["mean of all"] = significant_loss(self.errors, found.errors)
        most = self.budgets.max_proxy_loss
        checks = [Check.at_most(f"proxy probe: {name}", x, most, "% MAE, significant") for name, x in losses.items()]
        if self.must_gain:
            gain = significant_loss(found.errors, self.errors) if losses else 0.0
            checks.append(Check("gain of all proxy probes", gain, 0.0, "% MAE, significant", gain > 0))
        return checks

    def gain(self, errors: np.ndarray) -> float:
        """Fall of the errors (2k, m) of the proxy probes from the original's, as a fraction, mean over all probes."""
        return float(1 - (errors.mean(axis=1) / self.errors.mean(axis=1)).mean())

    @cached_property
    def recoverable(self) -> float:
        """R2 with which the original embedding is recovered from itself."""
        return recovery(self.judged.Z, self.judged.Z)

    def errors_with(self, branch: Adapter) -> np.ndarray:
        """Errors (k, m) of the proxies' ridge probes on original ⊕ ``branch``; (0, m) where it is not finite."""
        Z = np.hstack([self.judged.Z, branch.embed_graphs(self.judged.graphs)[0]])
        return probe_errors(Z, self.proxies) if np.isfinite(Z).all() else np.empty((0, len(Z)))
