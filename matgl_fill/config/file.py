"""Read settings from TOML or YAML files, and write them as commented TOML."""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel

from matgl_fill.errors import InputError

WIDTH = 100


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read the settings in a TOML or YAML file, unchecked.

    Args:
        path: File whose name ends in ``.toml``, ``.yaml`` or ``.yml``.

    Raises:
        InputError: There is no such file, it is of another kind, it cannot be parsed, or it is no table of settings.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no config file '{path}'; 'matgl-fill config --write FILE' writes one with the defaults.")
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise InputError(f"config file '{path}' is neither .toml nor .yaml; rename it after what it holds.")
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text) or {}
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"config file '{path}' cannot be read: {reason}.") from None
    if not isinstance(found, dict):
        raise InputError(f"config file '{path}' holds no settings; write one 'name: value' a line.")
    return found


def check_names(given: Iterable[Any], names: Sequence[str]) -> None:
    """Refuse unknown names of settings.

    Raises:
        InputError: A name is unknown; the message gives the nearest valid one.
    """
    for name in map(str, given):
        if name not in names:
            near = get_close_matches(name, names, 1)
            there = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}."
            raise InputError(f"config: no setting '{name}'; {there}")


def settings_toml(config: BaseModel, explain: bool = True) -> str:
    r"""Write a config as TOML, with a table for each group of settings; open settings are commented out.

    Args:
        config: Groups of settings, such as a :class:`matgl_fill.FillConfig`.
        explain: Whether a comment says what each setting means.

    Example:
        >>> from matgl_fill.config import FillConfig
        >>> print(settings_toml(FillConfig(choice="random", shares={"member": 1}), explain=False).partition("\n\n")[0])
        [search]
        choice = "random"
        neighbours = 10
        exclude_elements = []
        max_atoms = 24
        shares = {member=1.0}
    """
    tables = []
    for group in type(config).model_fields:
        settings = getattr(config, group)
        lines = [f"[{group}]"]
        for name, value in settings.model_dump().items():
            field = type(settings).model_fields[name]
            lines += _comment(field.description or "", field.annotation) if explain else []
            lines += [f"# {name} = (left open)" if value is None else f"{name} = {_toml(value)}"]
            lines += [""] if explain else []
        tables.append("\n".join(lines).rstrip())
    return "\n\n".join(tables) + "\n"


def _toml(value: Any) -> str:
    """A number, a text, a list, or a table of these in one line."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}={_toml(one)}" for name, one in value.items()) + "}"
    return json.dumps(value)


def _comment(text: str, kind: Any) -> list[str]:
    """Comment lines with the meaning of a field and, where few values are allowed, with these values."""
    text = " ".join(text.replace("``", "").split())
    if get_origin(kind) is Literal:
        text += " One of " + ", ".join(map(json.dumps, get_args(kind))) + "."
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")
