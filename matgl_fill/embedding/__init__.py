"""From crystals to embeddings: one call, a cache on disk, and the pool of a run."""
