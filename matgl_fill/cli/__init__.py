"""Command line: ``matgl-fill``.

Modules of this room import at their top what an option needs; a command imports inside of it what it works with, so
that help is there at once.
"""

# ruff: noqa: I001, commands are listed in the order of these imports
from __future__ import annotations

import sys
import warnings

from matgl_fill.cli import tuning, analysis, checking  # noqa: F401
from matgl_fill.cli.common import app
from matgl_fill.errors import MatglFillError, MatglFillWarning

__all__ = ["app", "main"]


def main() -> None:
    """Entry point: one line per warning and error; the exit codes are those of :mod:`matgl_fill.errors`."""
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("always", category=MatglFillWarning)
    warnings.showwarning = lambda message, *_args, **_kwargs: print(f"warning: {message}", file=sys.stderr)
    try:
        app()
    except MatglFillError as err:
        print(f"error: {err}", file=sys.stderr)
        sys.exit(err.exit_code)
    except OSError as err:
        print(f"error: {err}", file=sys.stderr)
        sys.exit(1)
