"""Structures to embeddings: in one call, or as a pool with all that is computed once per crystal."""

from matgl_fill.embedding.cost import embedding_seconds, search_seconds
from matgl_fill.embedding.pool import Pool, prepare_pool
from matgl_fill.embedding.usable import check_usable, graph_or_reason, usable_crystals

__all__ = [
    "Pool",
    "check_usable",
    "embedding_seconds",
    "graph_or_reason",
    "prepare_pool",
    "search_seconds",
    "usable_crystals",
]
