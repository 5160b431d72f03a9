"""Architectures as MatGL had them when older checkpoints were trained, where today's MatGL computes something else.

Files that this package saves name the classes of these modules, so they keep their names and places.
"""
