"""Words of the command line that several measurements take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from matgl_fill.errors import InputError


def numbers(text: str) -> list[int]:
    """Numbers of a word such as ``0,1,2`` on the command line.

    Raises:
        BadParameter: it is none.
    """
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is not a list of whole numbers such as 0,1,2.") from error


def settings_of(changes: Sequence[str]) -> dict[str, Any]:
    """``FIELD=VALUE`` pairs; the values are converted by the config.

    Raises:
        InputError: a text without ``=``.
    """
    if wrong := [c for c in changes if "=" not in c]:
        raise InputError(f"'{wrong[0]}' is no setting; give FIELD=VALUE, such as steps=50.")
    return dict(c.split("=", 1) for c in changes)
