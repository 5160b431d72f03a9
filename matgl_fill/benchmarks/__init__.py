"""Measurements that the documentation quotes: ``python -m matgl_fill.benchmarks``."""
