"""Processes that make shards and may be killed; their server has imported the package once for all of them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from pathlib import Path

import matgl_fill as mf
from matgl_fill.embedding.shards import run

SERVED = multiprocessing.get_context("forkserver")
SERVED.set_forkserver_preload(["matgl_fill.embedding.shards.work"])


def embed_until(number: int, source: Path, folder: Path, size: int) -> None:
    """Embed by the bundled model, and be killed when the shard with this number is written."""
    write = run._Work.write

    def killed_after(self, shard):
        write(self, shard)
        if shard.number == number:
            os.kill(os.getpid(), signal.SIGKILL)

    run._Work.write = killed_after
    mf.embed_shards(mf.load_model("default"), source, folder, shard_size=size)


def dask_worker(address: str) -> None:
    """Work for a scheduler of dask until it ends."""
    from distributed import Worker

    async def work() -> None:
        async with Worker(address, nthreads=1, dashboard=False) as worker:
            await worker.finished()

    asyncio.run(work())
