"""Crystals in and out: reading, conversion, writing, descriptors, and what the package carries."""
