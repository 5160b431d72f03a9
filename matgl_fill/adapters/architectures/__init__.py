"""Adapters of the architectures, one module each: which tensors are the embedding."""
