"""Proposals: new crystals for the roughest points of a latent space, and configurations for a potential."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from matgl_fill.adapters import Adapter, get_adapter
from matgl_fill.config.config import Choice, FillConfig, Kind, SearchConfig, settings_told
from matgl_fill.embedding import search_seconds
from matgl_fill.embedding.pool import MIN_POOL
from matgl_fill.errors import GenerationError, InputError, MatglFillWarning
from matgl_fill.generation.assemble import assembled, displaced_members
from matgl_fill.generation.configurations.langevin import STEPS
from matgl_fill.generation.configure import base_rows, counts_of, make_configurations
from matgl_fill.generation.decoder import Decoder
from matgl_fill.generation.select import Proposal, Selection, select
from matgl_fill.generation.start import SearchStart, search_start
from matgl_fill.roughness import RoughnessResult
from matgl_fill.utils.counting import counted
from matgl_fill.utils.modes import usual_autograd
from matgl_fill.utils.validation import as_int, check_seed

FORCES_COST = 3
"""Approximate cost of one crystal's forces, in embeddings of one crystal."""


@dataclass(frozen=True)
class SearchRequest:
    """Request for a search.

    Attributes:
        n: Number of crystals wanted.
        seed: Seed of all random choices.
        settings: Choice of the targets, what may be proposed, and shares of the kinds of configurations.
        checkpoint: File to which the search is saved, and from which an interrupted one goes on. Configurations are
            saved beside it, see :attr:`configurations_file`.
        configurations: Whether configurations are wanted, as for a potential, and not new members only.
    """

    n: int
    seed: int
    settings: SearchConfig = field(default_factory=SearchConfig)
    checkpoint: Path | None = None
    configurations: bool = False

    @property
    def counts(self) -> Counter[Kind]:
        """Number of crystals of each kind."""
        return counts_of(self.settings.shares if self.configurations else {"member": 1.0}, self.n)

    @property
    def configurations_file(self) -> Path | None:
        """File to which the configurations are saved until all are made."""
        return None if self.checkpoint is None else self.checkpoint.with_name(self.checkpoint.name + ".configurations")

    def seconds(self, adapter: Adapter, embedding: float) -> float:
        """Time in seconds that the search will take, about, where embedding one crystal takes ``embedding``."""
        passes = self.counts["dynamics"] * STEPS * FORCES_COST
        return search_seconds(adapter, embedding, self.counts["member"]) + embedding * passes


@settings_told
@usual_autograd()
def propose(
    model: nn.Module,
    structures: Any,
    roughness: RoughnessResult | None = None,
    n: int = 100,
    seed: int = 0,
    choice: Choice | None = None,
    checkpoint: str | Path | None = None,
    config: FillConfig | dict[str, Any] | str | Path | None = None,
    device: str | torch.device | None = None,
) -> list[Proposal]:
    """Propose crystals to compute: new ones for a property model, and configurations for a potential.

    For a property model they are new crystals for the roughest points of its latent space. For a potential most are
    configurations around the pool's crystals, as simulations bring them about: displaced atoms, strained cells,
    supercells, vacancies, surfaces and molecular dynamics, in the shares and within the amplitudes that
    :class:`~matgl_fill.config.config.SearchConfig` and :mod:`~matgl_fill.generation.configurations.amplitudes` tell;
    the crystals beside the roughest points get theirs first.

    Args:
        model: Any MatGL model that :func:`matgl_fill.get_adapter` serves; it is left as it was.
        structures: Pool of known crystals, anything :func:`matgl_fill.read_structures` takes; 20 at least, but for a
            potential one is enough. A folder of shards that :func:`matgl_fill.embed_shards` made is taken too, of any
            size.
        roughness: Roughness of the pool's embedding; analysed here if not given.
        n: Number of crystals wanted.
        seed: Seed of all random choices.
        choice: Choice of the targets: ``"roughness"``, or one of the controls ``"random"``, ``"farthest"`` and
            ``"dissimilar"``; that of the config if not given.
        checkpoint: File to which the search is saved, and from which an interrupted one goes on to the same crystals.
        config: :class:`FillConfig`, dictionary of changes, or TOML or YAML file; only its group ``search`` counts here:
            ``{"exclude_elements": ["Tc"], "max_atoms": 16}``.

        device: Device to compute on, for example ``"cuda"``; the model's own if not given.

    Raises:
        InputError: There are too few usable crystals, there is no such choice or setting, the seed is negative, or the
            checkpoint is of another search.
        GenerationError: No valid crystal could be made.
    """
    adapter = get_adapter(model).on(device)
    settings = FillConfig.make(config).search
    if choice is not None:
        settings = settings.model_copy(update={"choice": choice})
    file = None if checkpoint is None else Path(checkpoint)
    request = SearchRequest(n, seed, settings, file, configurations=adapter.is_potential)
    start = search_start(adapter, structures, settings, n, seed, roughness)
    return propose_from(adapter, start, request).proposals


def propose_from(adapter: Adapter, start: SearchStart, request: SearchRequest) -> Selection:
    """Propose crystals, and count the candidates that were not taken; see :func:`propose`.

    Args:
        adapter: Adapter of the model.
        start: Crystals from which the search starts, and their roughness; without it only configurations are made.
        request: Request for the search.

    Raises:
        InputError: The request has no such choice or an unusable number, or the checkpoint is of another search.
        GenerationError: No valid crystal could be made.
    """
    request = replace(request, n=as_int("n", request.n), seed=check_seed(request.seed))
    if request.settings.choice not in get_args(Choice):
        raise InputError(f"no choice '{request.settings.choice}'; there are {', '.join(get_args(Choice))}.")
    if request.n < 1:
        raise GenerationError(f"n is {request.n}; give at least 1.")
    if request.configurations:
        return _with_configurations(adapter, start, request)
    if start.roughness is None:
        raise InputError(
            f"a pool of {counted(len(start.pool), 'crystal')} is too small for a search; give at least {MIN_POOL}."
        )
    selection = _members(adapter, start, request, request.n)
    if len(selection.proposals) < request.n:
        warnings.warn(
            f"only {len(selection.proposals)} of {request.n} crystals could be generated from a pool of "
            f"{len(start.Z)}; give a larger pool or a smaller n.",
            MatglFillWarning,
            stacklevel=2,
        )
    return selection


def _members(adapter: Adapter, start: SearchStart, request: SearchRequest, n: int) -> Selection:
    """Up to n new crystals near chosen latent points.

    Raises:
        GenerationError: No valid crystal could be made.
    """
    targets = start.targets(n, request.settings, request.seed)
    if len(targets.points) == 0:
        raise GenerationError("the latent space has no rough point (constant response); give a more varied pool.")
    decoder = Decoder(adapter, start.pool, request.seed, checkpoint=request.checkpoint, settings=request.settings)
    selection = select(decoder, targets, n)
    if not selection.proposals:
        reasons = ", ".join(f"{k} ({v})" for k, v in decoder.refused.most_common(3))
        raise GenerationError(f"no valid crystal could be generated; candidates failed on: {reasons or 'duplicates'}.")
    return selection


def _with_configurations(adapter: Adapter, start: SearchStart, request: SearchRequest) -> Selection:
    """Configurations around the pool's crystals, and new members, displaced too, as far as the pool allows."""
    counts, settings, seed, pool = request.counts, request.settings, request.seed, start.pool
    found = _found_members(adapter, start, request, counts["member"])
    members = displaced_members(adapter, found.proposals if found else [], settings.max_atoms, seed)
    counts["displaced"] += counts.pop("member", 0) - len(members)
    rows = base_rows(pool, start.targets(request.n, settings, seed).points, settings, seed)
    made = make_configurations(adapter, pool, rows, counts, settings, seed, request.configurations_file)
    if not made and not members:
        raise GenerationError("no configuration of the pool's crystals could be made; give other crystals.")
    return assembled(adapter, pool, start.roughness, made, found, members)


def _found_members(adapter: Adapter, start: SearchStart, request: SearchRequest, n: int) -> Selection | None:
    """Up to n new members, with a warning where they are fewer; None where there are none."""
    if not n:
        return None
    found, reason = None, f"a search needs a pool of at least {MIN_POOL} crystals, not {len(start.pool)}"
    if start.roughness is not None:
        try:
            found = _members(adapter, start, request, n)
            reason = f"the pool of {len(start.Z)} allows no more"
        except GenerationError as error:
            reason = str(error).removesuffix(".")
    if (number := len(found.proposals) if found else 0) < n:
        warnings.warn(
            f"only {number} of {n} new crystals could be generated ({reason}); displaced crystals of the pool take the "
            "place of the others.",
            MatglFillWarning,
            stacklevel=2,
        )
    return found
