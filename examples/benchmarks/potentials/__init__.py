"""Potentials: filling, distillation, heating, physics, and the calculator."""
