"""Potentials: labels, distillation, heating, physics, and the calculator."""
