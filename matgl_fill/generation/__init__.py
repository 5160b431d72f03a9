"""Generation: from latent targets to new crystals that are valid, to configurations, and to augmentations."""

from matgl_fill.generation.augment import training_augmentations
from matgl_fill.generation.propose import SearchRequest, propose_from
from matgl_fill.generation.select import Proposal, Selection
from matgl_fill.generation.targets import Targets, choose_targets

__all__ = [
    "Proposal",
    "SearchRequest",
    "Selection",
    "Targets",
    "choose_targets",
    "propose_from",
    "training_augmentations",
]
