"""Embeddings of pools of any size: a folder of shards, made by processes or on a cluster, and what reads it."""

from matgl_fill.embedding.shards.folder import ShardFolder
from matgl_fill.embedding.shards.run import embed_shards

__all__ = ["ShardFolder", "embed_shards"]
