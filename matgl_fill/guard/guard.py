"""The guard, which hands over a tuned model only if it keeps what the original could do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.stats import norm
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from matgl_fill.adapters import Adapter, KernelCorrection
from matgl_fill.config import GuardConfig
from matgl_fill.embedding import Pool
from matgl_fill.guard.proxies import NAMES, proxies
from matgl_fill.guard.scales import force_scale, small_rows

ALPHAS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1)
"""Weights tried between the original (0) and the tuned model (1), largest first."""
LEVEL = 0.05
"""Chance that a loss counts as significant where nothing was lost; several probes judged one by one share it."""
PENALTIES = 2.0 ** np.arange(-7, 18)
"""Ridge penalties of the probes: powers of two, so that an embedding doubled by its own copy scores the same."""
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


@dataclass(frozen=True)
class Verdict:
    """Decision of the guard.

    Attributes:
        accepted: Whether the tuned model, possibly interpolated, is handed over.
        alpha: Weight of the tuned model; 0 means the original.
        checks: Measures at ``alpha``, or at the smallest weight tried if none passed.
        tried: Every weight tried, with the names of the measures that failed; the last may be one that passed and was
            no better.
    """

    accepted: bool
    alpha: float
    checks: tuple[Check, ...]
    tried: dict[float, tuple[str, ...]]

    def diverged(self, values: int) -> Verdict:
        """The verdict that refuses a model by which ``values`` values of the pool's embedding are not finite."""
        check, tried = _at_most(DIVERGED, values, 0, "values"), {self.alpha: (DIVERGED,)}
        return Verdict(False, 0.0, (*self.checks, check), self.tried | tried)

    def as_dict(self) -> list[dict[str, Any]]:
        """Checks as plain dictionaries."""
        return [asdict(c) for c in self.checks]


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
    folds = KFold(5, shuffle=True, random_state=0)
    return np.abs(cross_val_predict(model, Z.astype(float), Y, cv=folds) - Y).T


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
    predicted = cross_val_predict(model, Z.astype(float), target, cv=KFold(5, shuffle=True, random_state=0))
    return float(1 - ((predicted - target) ** 2).sum() / (target**2).sum())


class Guard:
    """Judge of tuned models on held-out pool crystals.

    Args:
        adapter: Adapter of the original model.
        pool: The n held-out pool crystals, with the original's embedding and predictions; neither objectives nor replay
            saw them.
        budgets: Changes that are allowed.
    """

    def __init__(self, adapter: Adapter, pool: Pool, budgets: GuardConfig) -> None:
        self.pool, self.budgets = pool, budgets
        every = proxies(pool.structures)
        varies = np.ptp(every, axis=0) > VARIES * np.abs(every).max(axis=0)
        self.names, self.proxies = np.array(NAMES)[varies].tolist(), every[:, varies]
        self.proxy_errors = probe_errors(pool.Z, self.proxies)
        self.small = [pool.graphs[i] for i in small_rows(pool.n_atoms, FORCE_ATOMS, FORCE_LEAST)[:FORCE_SAMPLE]]
        self.forces = adapter.forces(self.small) if adapter.is_potential else None

    @cached_property
    def recoverable(self) -> float:
        """R2 with which a linear map recovers the original embedding from itself."""
        return recovery(self.pool.Z, self.pool.Z)

    def checks(self, adapter: Adapter) -> tuple[Check, ...]:
        """Every measure of one candidate model; a single one if its training diverged."""
        return self._measured(adapter)[0]

    def _measured(self, adapter: Adapter) -> tuple[tuple[Check, ...], np.ndarray]:
        """Checks of one candidate model and (k, n) errors of its proxy probes, none where its training diverged."""
        Z, y = adapter.embed_graphs(self.pool.graphs)
        if lost := int((~np.isfinite(Z)).sum() + (~np.isfinite(y)).sum()):
            return (_at_most(DIVERGED, lost, 0, "values"),), np.empty((0, len(y)))
        budgets, out = self.budgets, []
        before = adapter.intensive(self.pool.y, self.pool.n_atoms)
        drift, spread = adapter.intensive(y, self.pool.n_atoms) - before, float(np.std(before))
        relative = float(np.abs(drift).mean()) / max(spread, 1e-9)
        out.append(_at_most("prediction drift", relative, budgets.max_prediction_drift, "of its deviation"))
        if self.forces is not None:
            shift = abs(float(drift.mean()))
            out.append(_at_most("mean energy shift", shift, budgets.max_energy_shift, "eV/atom"))
            change = np.abs(adapter.forces(self.small) - self.forces).mean() / force_scale(self.forces)
            out.append(_at_most("force drift", float(change), budgets.max_force_drift, "of the mean force"))
        if len(adapter.cores) == 1:  # with two, the original embedding is part of the new one
            kept = recovery(Z, self.pool.Z) / self.recoverable
            out.append(
                Check("original embedding recovered", kept, budgets.min_recovery, "of R2", kept >= budgets.min_recovery)
            )
        errors = probe_errors(Z, self.proxies)
        pairs = zip(self.names, self.proxy_errors, errors, strict=True)
        losses = {name: significant_loss(was, now, judged=len(errors)) for name, was, now in pairs}
        if losses:
            losses["mean of all"] = significant_loss(self.proxy_errors, errors)
        for name, loss in losses.items():
            out.append(_at_most(f"proxy probe: {name}", loss, budgets.max_proxy_loss, "% MAE, significant"))
        return tuple(out), errors

    def errors_with(self, branch: Adapter) -> np.ndarray:
        """Errors (k, n) of the proxy probes on original ⊕ ``branch``; (0, n) where an embedding is not finite."""
        Z = np.hstack([self.pool.Z, branch.embed_graphs(self.pool.graphs)[0]])
        return probe_errors(Z, self.proxies) if np.isfinite(Z).all() else np.empty((0, len(Z)))

    def judge(
        self,
        original: Adapter,
        tuned: Adapter | None,
        correction: KernelCorrection | None = None,
    ) -> tuple[Adapter, Verdict]:
        """Interpolate from the tuned model towards the original until every check passes (WiSE-FT, arXiv 2109.01903).

        The interpolation goes on from there as long as the errors of the proxy probes fall significantly: a change
        that spoils an embedding at a large weight may improve it at a small one.

        Args:
            original: Adapter of the original model.
            tuned: Adapter of the tuned model, which replaces the original or, where it is a branch, is attached to it;
                None if only a correction is judged.
            correction: Correction of the energies, which is scaled by the same weight.

        Returns:
            The adapter of the accepted model (a copy of the original if none passed) and the verdict.
        """
        tried: dict[float, tuple[str, ...]] = {}
        checks: tuple[Check, ...] = ()
        best: tuple[Adapter, Verdict, np.ndarray] | None = None
        for alpha in ALPHAS:
            candidate = self._candidate(alpha, original, tuned, correction)
            checks, errors = self._measured(candidate)
            tried[alpha] = tuple(c.measure for c in checks if not c.passed)
            if best and (tried[alpha] or significant_loss(errors, best[2]) <= 0):
                break
            if not tried[alpha]:
                best = candidate, Verdict(True, alpha, checks, tried), errors
                if tuned is None or not self.names:  # a correction alone leaves the embedding as it is
                    break
        return best[:2] if best else (original.clone(), Verdict(False, 0.0, checks, tried))

    def _candidate(
        self, alpha: float, original: Adapter, tuned: Adapter | None, correction: KernelCorrection | None
    ) -> Adapter:
        """The model of one weight; arguments as of :meth:`judge`."""
        candidate = None if tuned is None else interpolate(original, tuned, alpha)
        if candidate is None or candidate.is_branch:
            return original.filled(candidate, correction.scaled(alpha) if correction else None)
        return candidate


def _at_most(measure: str, value: float, budget: float, unit: str) -> Check:
    return Check(measure, value, budget, unit, bool(value <= budget))


def interpolate(original: Adapter, tuned: Adapter, alpha: float) -> Adapter:
    """Make a new model with weights (1 - alpha) original + alpha tuned; both inputs stay as they are."""
    new = original.tuned_branch() if tuned.is_branch else original.clone()
    if alpha == 0:
        return new
    weights = dict(tuned.core.named_parameters())
    with torch.no_grad():
        for name, p in new.core.named_parameters():
            p.copy_(weights[name] if alpha == 1 else torch.lerp(p, weights[name], alpha))
    return new
