"""The one verb: find the rough regions of a model's latent space, fill them, keep everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from matgl_fill.adapters import Adapter, get_adapter, make_savable
from matgl_fill.config.config import FillConfig
from matgl_fill.embedding.cost import embedding_seconds, search_seconds
from matgl_fill.embedding.pool import Pool, prepare_pool
from matgl_fill.errors import InputError, ModelError
from matgl_fill.evaluation import Comparison, Task, compare, evaluate, read_tasks, usable_tasks
from matgl_fill.generation import Proposal, SearchRequest, propose_from
from matgl_fill.report.model import (
    Landscape,
    call_facts,
    headline,
    latent_plane,
    proposal_row,
    roughness_table,
    run_facts,
)
from matgl_fill.report.result import FillResult
from matgl_fill.roughness import RoughnessResult, graph_roughness
from matgl_fill.structures import bundled_pool
from matgl_fill.training import Verdict, resolve
from matgl_fill.training.correction.solve import can_correct
from matgl_fill.training.registry import check_objective
from matgl_fill.training.run_state import SEARCH, RunState, what_it_depends_on
from matgl_fill.training.supplied import given_crystals
from matgl_fill.training.train import Trained, train_copy
from matgl_fill.utils.console import Clock, console
from matgl_fill.utils.validation import as_int, check_seed

NOT_CORRECTED = (
    "form 'correct' corrects energies: it needs a MatGL Potential on PyG, and an oracle or labelled crystals; "
    "for anything else leave form out."
)


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
    _check_places(out, resume)
    if labelled is not None and (oracle is not None or proposals is not None):
        raise InputError("labelled crystals need neither an oracle nor proposals; give one of them.")
    n, seed = as_int("n", n), check_seed(seed)
    has_labels = oracle is not None or labelled is not None
    check_objective(objective, has_labels)
    source = None if oracle is None else resolve(oracle)
    crystals_given = {"structures": structures, "proposals": proposals, "labelled": labelled}
    call = call_facts(model=name or model, **crystals_given, n=n, objective=objective, oracle=oracle, seed=seed)
    clock = Clock()
    adapter = get_adapter(model)
    settings = _settings_for(adapter, FillConfig.make(config), has_labels)
    chosen_tasks, unusable = (None, []) if tasks is None else usable_tasks(adapter, read_tasks(tasks))
    with clock.stage("embed pool"):
        pool = prepare_pool(adapter, bundled_pool(adapter.element_types) if structures is None else structures)
    with clock.stage("analyse roughness"):
        before = graph_roughness(pool.Z, pool.D, settings.neighbours)
    given = given_crystals(adapter, before, proposals, labelled)
    asked: dict[str, Any] = {"n": n, "seed": seed, "objective": objective, "settings": settings.model_dump()}
    asked["crystals"] = given.key() if given else None
    asked["frozen"] = [name for name, p in model.named_parameters() if not p.requires_grad]
    labeller = source[1] if source else None
    facts = {} if out is None else what_it_depends_on(model, pool.structures, pool.ids, labeller, **asked)
    state = RunState(out, facts, resume)
    with clock.stage("propose crystals"):
        search = partial(_propose, adapter, pool, before, n, seed, settings, state)
        fill = given.proposals if given else state.proposals(search)
    with clock.stage("train"):
        labels = given.labels if given else None
        trained = train_copy(adapter, pool, fill, objective, source, settings, seed, state, labels)
    with clock.stage("guard"):
        accepted, verdict, Z = trained.judged(adapter, pool)
    make_savable(accepted.model)
    with clock.stage("evaluate"):
        landscapes = _landscapes(adapter, accepted if verdict.accepted else None, pool, Z, before, fill, settings)
        comparison = _scored(model, accepted.model if verdict.accepted else None, chosen_tasks)
    run = run_facts(model, adapter, accepted, len(pool.structures), len(fill), seed, trained.made, clock.stages)
    run |= {"model": name} if name else {}
    report: dict[str, Any] = {"title": f"Fill-tuning of {adapter.name}", "run": run, "call": call}
    report |= {"config": settings.model_dump()}
    report |= _outcome(verdict, comparison, trained) | {"proposals": [proposal_row(p) for p in fill]} | landscapes
    skipped = pool.skipped + (given.skipped if given else []) + unusable
    report["skipped"] = [asdict(s) for s in skipped] or None
    result = FillResult(accepted.model, model, verdict.accepted, report, fill, comparison)
    if out is not None:
        result.save(out)
        state.remove()
    return result


def _check_places(out: str | Path | None, resume: bool) -> None:
    """Refuse a folder that cannot be one, and to go on where nothing was kept."""
    if resume and out is None:
        raise InputError("resume goes on with the run in a folder; give that as out.")
    if out is not None and Path(out).is_file():
        raise InputError(f"out is the file '{out}'; give a folder.")


def _settings_for(adapter: Adapter, config: FillConfig, has_labels: bool) -> FillConfig:
    """Settings of a run on this model, which has to be one that can be tuned in the form asked for."""
    if adapter.is_filled:
        raise ModelError("this model is fill-tuned already; give the original (result.undo()) and the larger pool.")
    if other := next((p.dtype for p in adapter.core.parameters() if p.dtype != torch.float32), None):
        raise ModelError(f"the model's weights are {other}, and training runs in float32; give model.float().")
    if config.form == "correct" and not (has_labels and can_correct(adapter)):
        raise InputError(NOT_CORRECTED)
    return config.resolved(adapter.is_potential, adapter.training_replay, adapter.training_rate)


def _propose(
    adapter: Adapter, pool: Pool, roughness: RoughnessResult, n: int, seed: int, config: FillConfig, state: RunState
) -> list[Proposal]:
    """Search, after saying how long it will take."""
    seconds = search_seconds(adapter, embedding_seconds(adapter, pool.structures), n)
    console.print(f"searching {n} crystals, about {seconds:.0f} s", highlight=False)
    return propose_from(adapter, pool, roughness, SearchRequest(n, seed, config.choice, state.file(SEARCH))).proposals


def _scored(model: nn.Module, accepted: nn.Module | None, tasks: list[Task] | None) -> Comparison | None:
    """Tasks before and after, where there are tasks; a refused model leaves everything as it was."""
    if tasks is None:
        return None
    scores = evaluate(model, tasks)
    return compare(scores, scores if accepted is None else evaluate(accepted, tasks))


def _outcome(verdict: Verdict, comparison: Comparison | None, trained: Trained) -> dict[str, Any]:
    """Parts of the report about what training made and how it was judged; None is what a run does not have."""
    return {
        "verdict": headline(verdict, comparison, trained.notes),
        "tasks": [asdict(c) | {"name": c.task} for c in comparison.changes] if comparison else None,
        "guard": verdict.as_dict(),
        "alignment": trained.made.alignment,
        "correction": trained.corrected.facts if trained.corrected else None,
        "history": {k: [v if isfinite(v) else None for v in values] for k, values in trained.history.items()} or None,
    }


def _landscapes(
    adapter: Adapter,
    accepted: Adapter | None,
    pool: Pool,
    Z: np.ndarray,
    before: RoughnessResult,
    fill: Sequence[Proposal],
    config: FillConfig,
) -> dict[str, Any]:
    """Parts of the report about roughness before and, by the Z that an accepted model makes of the pool, after."""
    crystals = adapter.graphs([p.structure for p in fill])
    first = last = Landscape(before, pool.Z, adapter.embed_graphs(crystals)[0])
    if accepted is not None:
        last = Landscape(graph_roughness(Z, pool.D, config.neighbours), Z, accepted.embed_graphs(crystals)[0])
    after = latent_plane(last) if accepted is not None else None
    maps = {"before": latent_plane(first, [p.target for p in fill]), "after": after}
    return {"roughness": roughness_table(first, last), "maps": maps}
