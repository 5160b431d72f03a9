"""Measurements that the documentation quotes: ``python -m examples.benchmarks``."""
