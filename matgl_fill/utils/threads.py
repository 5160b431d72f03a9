"""How many threads linear algebra uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run matrix products on one thread: work is shared in batches, and splitting a product would change its bits."""
    with threadpool_limits(1, "blas"):
        yield
