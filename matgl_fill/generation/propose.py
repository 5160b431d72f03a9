"""Proposals: new crystals for the roughest points of a model's latent space."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import nn

from matgl_fill.adapters import Adapter, get_adapter
from matgl_fill.config.config import Choice
from matgl_fill.embedding import Pool, prepare_pool
from matgl_fill.errors import GenerationError, InputError, MatglFillWarning
from matgl_fill.generation.decoder import Decoder
from matgl_fill.generation.select import Proposal, Selection, select
from matgl_fill.generation.targets import choose_targets
from matgl_fill.roughness import RoughnessResult, graph_roughness
from matgl_fill.utils.modes import usual_autograd
from matgl_fill.utils.validation import as_int, check_seed


@dataclass(frozen=True)
class SearchRequest:
    """Request for a search.

    Attributes:
        n: Number of crystals wanted.
        seed: Seed of all random choices.
        choice: Choice of the targets, see :func:`~matgl_fill.generation.choose_targets`.
        checkpoint: File to which the search is saved, and from which an interrupted one goes on.
    """

    n: int
    seed: int
    choice: Choice = "roughness"
    checkpoint: Path | None = None


@usual_autograd()
def propose(
    model: nn.Module,
    structures: Any,
    roughness: RoughnessResult | None = None,
    n: int = 100,
    seed: int = 0,
    choice: Choice = "roughness",
    checkpoint: str | Path | None = None,
) -> list[Proposal]:
    """Propose new crystals for the roughest points of a model's latent space.

    Args:
        model: Any MatGL model that :func:`matgl_fill.get_adapter` serves; it is left as it was.
        structures: Pool of known crystals, anything :func:`matgl_fill.read_structures` takes.
        roughness: Roughness of the pool's embedding; analysed here if not given.
        n: Number of crystals wanted.
        seed: Seed of all random choices.
        choice: Choice of the targets: ``"roughness"``, or one of the controls ``"random"``, ``"farthest"`` and
            ``"dissimilar"``.
        checkpoint: File to which the search is saved, and from which an interrupted one goes on to the same crystals.

    Raises:
        InputError: There are too few usable crystals, there is no such choice, the seed is negative, or the checkpoint
            is of another search.
        GenerationError: No valid crystal could be made.
    """
    adapter = get_adapter(model)
    pool = prepare_pool(adapter, structures)
    if roughness is None:
        roughness = graph_roughness(pool.Z, pool.D)
    roughness.check_width(pool.Z.shape[1])
    request = SearchRequest(n, seed, choice, None if checkpoint is None else Path(checkpoint))
    return propose_from(adapter, pool, roughness, request).proposals


def propose_from(adapter: Adapter, pool: Pool, roughness: RoughnessResult, request: SearchRequest) -> Selection:
    """Propose new crystals near chosen latent points, and count the other candidates; see :func:`propose`.

    Args:
        adapter: Adapter of the model.
        pool: Crystals from which the search starts.
        roughness: Roughness of the pool's embedding.
        request: Request for the search.

    Raises:
        InputError: The request has no such choice or an unusable number, or the checkpoint is of another search.
        GenerationError: No valid crystal could be made.
    """
    n, seed, choice = as_int("n", request.n), check_seed(request.seed), request.choice
    if choice not in get_args(Choice):
        raise InputError(f"no choice '{choice}'; there are {', '.join(get_args(Choice))}.")
    if n < 1:
        raise GenerationError(f"asked for {n} crystals; give n of at least 1.")
    targets = choose_targets(pool.Z, roughness, n, choice, seed)
    if len(targets.points) == 0:
        raise GenerationError("the latent space has no rough point (constant response); give a more varied pool.")
    decoder = Decoder(adapter, pool, seed, checkpoint=request.checkpoint)
    selection = select(decoder, targets, n)
    if not selection.proposals:
        reasons = ", ".join(f"{k} ({v})" for k, v in decoder.refused.most_common(3))
        raise GenerationError(f"no valid crystal could be generated; candidates failed on: {reasons or 'duplicates'}.")
    if len(selection.proposals) < n:
        warnings.warn(
            f"only {len(selection.proposals)} of {n} crystals could be generated from a pool of "
            f"{len(pool)}; give a larger pool or a smaller n.",
            MatglFillWarning,
            stacklevel=2,
        )
    return selection
