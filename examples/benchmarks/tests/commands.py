"""The benchmarks' command line, as their tests call it."""

from __future__ import annotations

from typer.testing import CliRunner

from examples.benchmarks.__main__ import app


def command(*words):
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output
