"""The one verb: find the rough regions of a model's latent space, fill them, keep everything else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matgl_fill.adapters import get_adapter, make_savable, on_device
from matgl_fill.config import FillConfig
from matgl_fill.config.config import settings_told
from matgl_fill.embedding import Pool, embedding_seconds, prepare_pool
from matgl_fill.embedding.pool import MIN_POOL
from matgl_fill.evaluation import read_tasks, usable_tasks
from matgl_fill.generation import Proposal, SearchRequest, propose_from
from matgl_fill.generation.start import SearchStart, least_pool, pool_roughness
from matgl_fill.report.build import Findings, build_report, compared
from matgl_fill.report.model import CallSection
from matgl_fill.report.result import FillResult
from matgl_fill.roughness import RoughnessResult
from matgl_fill.structures import bundled_pool
from matgl_fill.training.potential.tune import tune_potential
from matgl_fill.training.request import FillRequest, check_arguments
from matgl_fill.training.run_state import SEARCH, RunState, check_free, run_fingerprint
from matgl_fill.training.supplied import supplied_crystals
from matgl_fill.training.train import train_copy
from matgl_fill.utils.console import Clock, console
from matgl_fill.utils.counting import counted
from matgl_fill.utils.modes import default_dtype_kept, usual_autograd


@settings_told
@usual_autograd()
@default_dtype_kept()
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
    overwrite: bool = False,
    name: str = "",
    proposals: Sequence[Proposal] | None = None,
    labelled: Any = None,
    device: str | torch.device | None = None,
) -> FillResult:
    """Fill-tune a pretrained MatGL model (method: arXiv 2502.13886).

    The pool is embedded, the rough regions of its latent space are found, ``n`` new crystals are generated there, and
    pretraining continues on them while the pool is replayed. The guard hands the result over only if nothing was lost.
    No label of a downstream task is used; ``tasks`` are only evaluated.

    Args:
        model: Property model, ``TransformedTargetModel``, ``Potential`` or bare core model. It is never changed.
            Weights that do not require gradients stay as they are in the copy too, so that layers can be frozen.
        structures: Pool of crystals, anything :func:`read_structures` takes; the package's own if not given.
        n: Number of crystals to generate.
        objective: ``"descriptor"`` or ``"denoise"`` (label-free), ``"oracle"``, a sum such as
            ``"descriptor+denoise"``, or ``"auto"``: descriptors, and labels where there are any. More can be added by
            :func:`matgl_fill.training.register_objective`.
        oracle: ASE calculator, MatGL ``Potential`` or its directory, ``"sevennet"``, ``"chgnet"``, or None.
        seed: Seed of all random choices; one seed gives the same crystals and weights to the bit on one machine.
        config: :class:`FillConfig`, dictionary of changes, or TOML or YAML file.
        out: Folder for model, crystals, settings and report. Until the run is finished, ``run.partial`` in it keeps
            crystals and oracle labels, and the training every 20 s.
        tasks: Downstream tasks to score before and after, as in :func:`matgl_fill.evaluate`.
        resume: Whether to go on with the run that was interrupted in ``out``, to the bits of one that was not (on the
            same machine, with as many threads). Where there is none, a run starts; without ``resume`` it starts over.
        overwrite: Whether model, crystals and report of a finished run in ``out`` may be replaced.
        name: Name of the model in the report; its class if empty.
        proposals: Crystals to learn from, as :func:`matgl_fill.propose` returns them; searched if not given.
        labelled: Crystals that come with energies, forces and stresses, from DFT for example, as
            :func:`matgl_fill.training.read_labelled` takes them. They need neither proposals nor an oracle.

        device: Device to compute on, for example ``"cuda"``; the model's own if not given. The result is where the
            model is.

    Raises:
        InputError: An argument cannot be used or excludes another, or ``out`` holds a finished run, or with ``resume``
            the unfinished run of another model, pool, oracle, seed or settings.
        ModelError: No adapter serves the model, or it is fill-tuned already.
        GenerationError: No valid crystal could be made.
        OracleError: The oracle is missing or fails on more than half of the crystals.
    """
    check_arguments(out, resume, oracle, proposals, labelled)
    check_free(out, resume, overwrite)
    given = {"structures": structures, "proposals": proposals, "labelled": labelled, "oracle": oracle}
    clock, adapter = Clock(), get_adapter(model).on(device)
    request = FillRequest.checked(adapter, n, objective, oracle, seed, config, labelled is not None)
    chosen, unusable = (None, []) if tasks is None else usable_tasks(adapter, read_tasks(tasks))
    with clock.stage("embed pool"):
        source = bundled_pool(adapter.element_types) if structures is None else structures
        pool = prepare_pool(adapter, source, least_pool(adapter) if request.tunes_potential else MIN_POOL)
    with clock.stage("analyse roughness"):
        roughness = pool_roughness(pool, request.settings.search)
    supplied = supplied_crystals(request, roughness, proposals, labelled)
    state = RunState(out, {} if out is None else run_fingerprint(request, pool, supplied), resume)
    with clock.stage("propose crystals"):
        fill = supplied.proposals if supplied else state.proposals(partial(_search, request, pool, roughness, state))
    with clock.stage("train"):
        train = tune_potential if request.tunes_potential else train_copy
        outcome = train(request, pool, fill, supplied.labels if supplied else None, state)
    with clock.stage("guard"):
        judgement = outcome.judged(adapter, pool)
    tuned = on_device(judgement.adapter.model, get_adapter(model).device)
    make_savable(tuned)
    with clock.stage("evaluate"):
        skipped = [*pool.skipped, *(supplied.skipped if supplied else []), *unusable]
        comparison = compared(model, judgement, chosen)
        findings = Findings(request, pool, roughness, fill, outcome, judgement, comparison, skipped)
        call = CallSection.of(request.n, request.seed, objective, model=name or model, **given)
        report = build_report(findings, call, name or type(model).__name__)
    result = FillResult(tuned, model, report.timed(clock.stages), fill, comparison)
    if out is not None:
        result.save(out)
        state.remove()
    return result


def _search(request: FillRequest, pool: Pool, roughness: RoughnessResult | None, state: RunState) -> list[Proposal]:
    """Search crystals, after saying how long it will take: for labels of a potential, configurations are among them."""
    configurations = request.adapter.is_potential and request.oracle is not None
    search = SearchRequest(request.n, request.seed, request.settings.search, state.file(SEARCH), configurations)
    seconds = search.seconds(request.adapter, embedding_seconds(request.adapter, pool.structures))
    console.print(f"searching for {counted(request.n, 'crystal')}, about {seconds:.0f} s", highlight=False)
    return propose_from(request.adapter, SearchStart.of(pool, roughness), search).proposals
