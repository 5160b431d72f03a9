"""Landscape mode: the stationary points of a smooth surface through the data."""
