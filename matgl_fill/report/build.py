"""The report of a run, built from the results of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import isfinite

import numpy as np
from torch import nn

from matgl_fill.config import FillConfig
from matgl_fill.embedding import Pool
from matgl_fill.evaluation import Comparison, Task, compare, evaluate
from matgl_fill.generation import Proposal
from matgl_fill.guard import Verdict
from matgl_fill.report.errors import label_errors_section
from matgl_fill.report.model import (
    AlignmentSection,
    CallSection,
    CorrectionSection,
    LatentMap,
    Maps,
    ProposalRow,
    RoughnessRow,
    RunReport,
    RunSection,
    TaskRow,
    VerdictSection,
)
from matgl_fill.roughness import RoughnessResult, graph_roughness
from matgl_fill.roughness.plots import project
from matgl_fill.structures import Skipped
from matgl_fill.training import Judgement, PotentialOutcome, TrainingOutcome
from matgl_fill.training.request import FillRequest
from matgl_fill.utils.machine import machine_facts

MAP_POINTS = 4000
"""Largest number of pool crystals that a latent map shows."""


@dataclass(frozen=True)
class Landscape:
    """Roughness of a pool, embedding of the pool, and embedding of the generated crystals."""

    roughness: RoughnessResult
    pool: np.ndarray
    crystals: np.ndarray

    def measures(self) -> dict[str, float]:
        """Frustration of the landscape, and local roughness averaged over the pool and the new crystals."""
        return {
            "frustration": self.roughness.frustration,
            "mean response (neighbour similarity)": float(self.roughness.response.mean()),
            "local roughness, pool mean": float(self.roughness.local(self.pool).mean()),
            "local roughness, generated crystals": float(self.roughness.local(self.crystals).mean()),
        }

    def map(self, targets: Sequence[np.ndarray] = ()) -> LatentMap:
        """The latent map, in four significant digits, of at most ``MAP_POINTS`` evenly spaced crystals of the pool.

        Args:
            targets: Latent points that were to be filled; each is shown once.
        """
        shown = np.unique(np.linspace(0, len(self.pool) - 1, MAP_POINTS).astype(int))
        wanted = np.unique(np.array(targets), axis=0).reshape(-1, self.pool.shape[1])
        plane, (crystals, wanted), axes = project(self.pool, [self.crystals, wanted])
        return LatentMap(
            pool=_digits(plane[shown]),
            roughness=_digits(self.roughness.local(self.pool[shown])),
            targets=_digits(wanted),
            proposals=_digits(crystals),
            axes=axes,
        )


@dataclass(frozen=True)
class Findings:
    """Results of the stages of a run.

    Attributes:
        request: Checked arguments of the run.
        pool: Pool of the run.
        roughness: Roughness of the pool's embedding; None if the pool is too small to have one.
        proposals: Crystals that were learnt from.
        outcome: Outcome of the training.
        judgement: Judgement of the guard.
        comparison: Comparison on downstream tasks, if there are any.
        skipped: Crystals that were left out, and why.
    """

    request: FillRequest
    pool: Pool
    roughness: RoughnessResult | None
    proposals: list[Proposal]
    outcome: TrainingOutcome | PotentialOutcome
    judgement: Judgement
    comparison: Comparison | None
    skipped: list[Skipped]


def compared(model: nn.Module, judgement: Judgement, tasks: list[Task] | None) -> Comparison | None:
    """Compare errors on tasks before and after, if there are tasks; a refused model changes none of them.

    Args:
        model: The original model.
        judgement: Judgement of the guard.
        tasks: Downstream tasks, or None.
    """
    if tasks is None:
        return None
    scores = evaluate(model, tasks)
    return compare(scores, evaluate(judgement.adapter.model, tasks) if judgement.accepted else scores)


def build_report(findings: Findings, call: CallSection, name: str) -> RunReport:
    """Build the report of a run, without the times of its stages (:meth:`RunReport.timed`).

    Args:
        findings: Results of the stages.
        call: Arguments of the call.
        name: Name of the model.
    """
    objectives, correction = findings.outcome.objectives, findings.outcome.correction
    before, after = _landscapes(findings)
    settings = findings.request.settings.model_dump()
    errors = findings.judgement.comparison
    unjudged = errors is None and findings.request.tunes_potential
    notes = [*findings.outcome.notes, *findings.judgement.notes]
    return RunReport(
        title=f"Fill-tuning of {findings.request.adapter.name}",
        run=_run_section(findings, name),
        call=call,
        config=FillConfig(**settings),
        verdict=verdict_section(findings.judgement.verdict, findings.comparison, notes, unjudged),
        tasks=_task_rows(findings.comparison),
        guard=list(findings.judgement.verdict.checks),
        alignment=AlignmentSection(**asdict(objectives.alignment)) if objectives.alignment else None,
        correction=CorrectionSection(**asdict(correction.facts)) if correction and correction.facts else None,
        history=_finite(findings.outcome.history),
        proposals=[_proposal_row(p) for p in findings.proposals],
        roughness=None if before is None else _roughness_rows(before, after or before),
        maps=_maps(findings, before, after),
        skipped=findings.skipped or None,
        label_errors=None if errors is None else label_errors_section(errors.before, errors.after),
    )


def verdict_section(
    verdict: Verdict, comparison: Comparison | None, notes: Sequence[str] = (), unjudged: bool = False
) -> VerdictSection:
    """Verdict of the guard in words, with mean and worst change of the tasks.

    Args:
        verdict: Verdict of the guard.
        comparison: Comparison on the downstream tasks, if there are any.
        notes: Other things that did not go as they should.
        unjudged: Whether a potential learnt from labels of which none could be held out.
    """
    failed = {a: names for a, names in verdict.tried.items() if names and a > verdict.alpha}
    reasons = _reasons(failed)
    if not verdict.accepted:
        words = "not accepted: the original model is returned"
    else:
        words = "accepted" if verdict.alpha == 1 else f"accepted, interpolated back to weight {verdict.alpha:g}"
        words += ", but not judged by any label" if unjudged else ""
    worst = comparison.worst if comparison else None
    return VerdictSection(
        accepted=verdict.accepted,
        headline=words,
        reasons=[*reasons, *notes],
        alpha=verdict.alpha,
        mean_change_percent=comparison.mean if comparison else None,
        worst_task=worst.task if worst else None,
        worst_change_percent=worst.change_percent if worst else None,
    )


def _reasons(failed: dict[float, tuple[str, ...]]) -> list[str]:
    """What was over its budget, a line for successive weights at which it was the same."""
    lines = []
    for names, found in groupby(failed, key=failed.__getitem__):
        weights = [f"{weight:g}" for weight in found]
        where = f"weight {weights[0]}" if len(weights) == 1 else f"weights {weights[0]} to {weights[-1]}"
        lines.append(f"at {where}: {', '.join(names)} outside the budget")
    return lines


def _run_section(findings: Findings, name: str) -> RunSection:
    """Facts of the run: model, crystals, settings, and what became of the embedding."""
    adapter, given = findings.request.adapter, findings.judgement.adapter
    added = f"original ⊕ tuned, {adapter.dim} + {given.dim - adapter.dim} dimensions"
    correction = given.core.correction if given.is_filled else None
    return RunSection(
        model=name,
        architecture=adapter.name,
        n_pool=len(findings.pool),
        n=len(findings.proposals),
        seed=findings.request.seed,
        objective=[o.name for o in findings.outcome.objectives.objectives] or ["correction"],
        oracle=findings.outcome.objectives.oracle,
        embedding=added if given.dim > adapter.dim else f"{adapter.dim} dimensions",
        correction=f"{correction.size[0]} environments" if correction else None,
        tuned_elements=given.tuned_elements or None,
        **machine_facts(),
    )


def _landscapes(findings: Findings) -> tuple[Landscape | None, Landscape | None]:
    """The landscape of the pool before and, where the guard accepted, by the accepted model; none of a small pool."""
    if findings.roughness is None:
        return None, None
    adapter, pool, judgement = findings.request.adapter, findings.pool, findings.judgement
    crystals = adapter.graphs([p.structure for p in findings.proposals])
    before = Landscape(findings.roughness, pool.Z, adapter.embed_graphs(crystals)[0])
    if judgement.accepted is None:
        return before, None
    rough = graph_roughness(judgement.Z, pool.D, findings.request.settings.search.neighbours)
    return before, Landscape(rough, judgement.Z, judgement.accepted.embed_graphs(crystals)[0])


def _maps(findings: Findings, before: Landscape | None, after: Landscape | None) -> Maps | None:
    if before is None:
        return None
    return Maps(before=before.map([p.target for p in findings.proposals]), after=after.map() if after else None)


def _roughness_rows(before: Landscape, after: Landscape) -> list[RoughnessRow]:
    first, last = before.measures(), after.measures()
    return [RoughnessRow(measure=m, before=first[m], after=last[m]) for m in first]


def _task_rows(comparison: Comparison | None) -> list[TaskRow] | None:
    return None if comparison is None else [TaskRow(name=c.task, **asdict(c)) for c in comparison.changes]


def _proposal_row(p: Proposal) -> ProposalRow:
    told = {name: getattr(p, name) for name in ProposalRow.model_fields if name != "formula"}
    return ProposalRow(formula=p.structure.composition.reduced_formula, **told)


def _finite(history: dict[str, list[float]]) -> dict[str, list[float | None]] | None:
    """Losses, with None for those that are not finite; None if nothing was trained."""
    return {k: [v if isfinite(v) else None for v in values] for k, values in history.items()} or None


def _digits(values: np.ndarray) -> list:
    """Values as nested lists, rounded to four significant digits."""
    return np.vectorize(lambda x: float(f"{x:.4g}"), otypes=[float])(values).tolist()
