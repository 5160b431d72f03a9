"""The part of a job that dask's workers hold; imported only where dask is installed."""

from __future__ import annotations

from typing import Any

from distributed import WorkerPlugin

from matgl_fill.embedding.shards.work import Job, begin, end


class JobPlugin(WorkerPlugin):
    """Plugin that lets every worker make shards of a job, also one that joins later.

    Args:
        job: The job.
    """

    def __init__(self, job: Job) -> None:
        self.name = f"matgl_fill {job.manifest.key}"
        self._job = job

    def setup(self, worker: Any) -> None:  # noqa: ARG002
        """Begin, when a worker starts or the plugin comes."""
        begin(self._job)

    def teardown(self, worker: Any) -> None:  # noqa: ARG002
        """End, when a worker closes or the plugin goes."""
        end(self._job.manifest.key)
