"""The one verb: find the rough regions of a model's latent space, fill them, keep everything else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from matgl_fill.adapters import get_adapter, make_savable
from matgl_fill.config import FillConfig
from matgl_fill.embedding.cost import embedding_seconds, search_seconds
from matgl_fill.embedding.pool import Pool, prepare_pool
from matgl_fill.evaluation import read_tasks, usable_tasks
from matgl_fill.generation import Proposal, SearchRequest, propose_from
from matgl_fill.report.build import Findings, build_report, compared
from matgl_fill.report.model import CallSection
from matgl_fill.report.result import FillResult
from matgl_fill.roughness import RoughnessResult, graph_roughness
from matgl_fill.structures import bundled_pool
from matgl_fill.training.request import FillRequest, check_arguments
from matgl_fill.training.run_state import SEARCH, RunState, run_fingerprint
from matgl_fill.training.supplied import supplied_crystals
from matgl_fill.training.train import train_copy
from matgl_fill.utils.console import Clock, console


def fill_tune(
    model: nn.Module,
    structures: Any = None,
    n: int = 100,
    objective: str = "auto",
    oracle: Any = None,
    seed: int = 0,
    config: FillConfig | dict[str, Any] | str | Path | None = None,
    out: str | Path | None = None,
    tasks: Any = None,
    resume: bool = False,
    name: str = "",
    proposals: Sequence[Proposal] | None = None,
    labelled: Any = None,
) -> FillResult:
    """Fill-tune a pretrained MatGL model (method: arXiv 2502.13886).

    Embeds the pool, finds where its latent space is rough, proposes ``n`` new crystals there, continues pretraining
    on them while the pool is replayed, and hands over the result only if the guard finds that nothing was lost.
    No label of a downstream task is used; ``tasks`` are only evaluated.

    Args:
        model: property model, ``TransformedTargetModel``, ``Potential`` or bare core model. Never changed. Weights that
            do not require gradients are not trained in its copy either: so layers are frozen.
        structures: pool of crystals; the package's own if not given.
        n: crystals to generate.
        objective: ``"descriptor"`` or ``"denoise"`` (label-free), ``"oracle"``, a sum such as
            ``"descriptor+denoise"``, or ``"auto"``: descriptors, and the oracle's labels where there are any. More by
            :func:`matgl_fill.training.register_objective`.
        oracle: ASE calculator, MatGL ``Potential`` or its directory, ``"sevennet"``, ``"chgnet"``, or None.
        seed: one seed gives the same crystals and the same weights to the bit on one machine.
        config: :class:`FillConfig`, dictionary of changes, or TOML file.
        out: folder for model, crystals, settings and report. While the run is not finished, ``run.partial`` in it
            holds what was done: crystals, oracle labels, and the training every 20 s.
        tasks: downstream tasks for before and after, as in :func:`matgl_fill.evaluate`.
        resume: go on with the run that was interrupted in ``out``, to the bits of one that was not, on the same machine
            with as many threads; only the times in the report are those of the last call. Where there is none, start.
            Without it a run starts over.
        name: what the report calls the model; its class if empty.
        proposals: crystals to learn from, from :func:`propose`; ``n`` are searched if not given.
        labelled: crystals to learn from that come with energies, forces and stresses, from DFT for example: a file or
            list of ``Atoms`` that :func:`matgl_fill.training.read_labelled` takes. Neither crystals nor an oracle are
            needed then.

    Returns:
        :class:`FillResult`.

    Raises:
        InputError: structures, tasks, labelled crystals, seed or config that cannot be used, ``resume`` without
            ``out``, ``labelled`` together with ``oracle`` or ``proposals``, or the unfinished run in ``out`` had
            another model, pool, oracle, seed or settings.
        ModelError: no adapter for the model.
        GenerationError: no valid crystal could be made.
        OracleError: the oracle is missing or fails.
    """
    check_arguments(out, resume, oracle, proposals, labelled)
    given = {"structures": structures, "proposals": proposals, "labelled": labelled, "oracle": oracle}
    clock, adapter = Clock(), get_adapter(model)
    request = FillRequest.checked(adapter, n, objective, oracle, seed, config, labelled is not None)
    chosen, unusable = (None, []) if tasks is None else usable_tasks(adapter, read_tasks(tasks))
    with clock.stage("embed pool"):
        pool = prepare_pool(adapter, bundled_pool(adapter.element_types) if structures is None else structures)
    with clock.stage("analyse roughness"):
        roughness = graph_roughness(pool.Z, pool.D, request.settings.search.neighbours)
    supplied = supplied_crystals(adapter, roughness, proposals, labelled)
    state = RunState(out, {} if out is None else run_fingerprint(request, pool, supplied), resume)
    with clock.stage("propose crystals"):
        fill = supplied.proposals if supplied else state.proposals(partial(_search, request, pool, roughness, state))
    with clock.stage("train"):
        outcome = train_copy(request, pool, fill, supplied.labels if supplied else None, state)
    with clock.stage("guard"):
        judgement = outcome.judged(adapter, pool)
    make_savable(judgement.adapter.model)
    with clock.stage("evaluate"):
        skipped = [*pool.skipped, *(supplied.skipped if supplied else []), *unusable]
        comparison = compared(model, judgement, chosen)
        findings = Findings(request, pool, roughness, fill, outcome, judgement, comparison, skipped)
        call = CallSection.of(request.n, request.seed, objective, model=name or model, **given)
        report = build_report(findings, call, name or type(model).__name__)
    result = FillResult(judgement.adapter.model, model, report.timed(clock.stages), fill, comparison)
    if out is not None:
        result.save(out)
        state.remove()
    return result


def _search(request: FillRequest, pool: Pool, roughness: RoughnessResult, state: RunState) -> list[Proposal]:
    """Search crystals, after saying how long it will take."""
    seconds = search_seconds(request.adapter, embedding_seconds(request.adapter, pool.structures), request.n)
    console.print(f"searching {request.n} crystals, about {seconds:.0f} s", highlight=False)
    search = SearchRequest(request.n, request.seed, request.settings.search.choice, state.file(SEARCH))
    return propose_from(request.adapter, pool, roughness, search).proposals
