"""Decoding, moves, and how proposed crystals relax."""
