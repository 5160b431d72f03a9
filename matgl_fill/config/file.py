"""Settings as a file: TOML or YAML in, commented TOML out."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel

from matgl_fill.errors import InputError

if TYPE_CHECKING:
    from matgl_fill.config.config import FillConfig

WIDTH = 100


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a TOML or YAML file, as they stand there.

    Args:
        path: file whose name ends in ``.toml``, ``.yaml`` or ``.yml``.

    Raises:
        InputError: there is no such file, it is of another kind, it cannot be parsed, or it is no table of settings.
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


def check_names(names: Any, model: type[BaseModel]) -> None:
    """Refuse names that are no fields of ``model``.

    Raises:
        InputError: with the nearest name there is.
    """
    for name in map(str, names):
        if name not in model.model_fields:
            near = get_close_matches(name, model.model_fields, 1)
            there = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(model.model_fields)}."
            raise InputError(f"config: no setting '{name}'; {there}")


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """What the ``Attributes`` section of a class's docstring says of each field."""
    section = inspect.cleandoc(model.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.split(r"^    (?=\w[\w, ]*: )", section, flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, _, text in (e.partition(": ") for e in entries)}


def settings_toml(config: FillConfig, explain: bool = True) -> str:
    r"""A config as TOML; fields that are left open are commented out.

    Args:
        config: any.
        explain: say in a comment what each field means.

    >>> from matgl_fill.config.config import FillConfig
    >>> print(settings_toml(FillConfig(choice="random")).partition("\n\n")[0])
    # where to fill: maxima of the local roughness and, where these are few, the roughest crystals of
    # other regions, or one of three controls: pool crystals at random, those farthest from each other,
    # or those that resemble their latent neighbours least. One of "roughness", "random", "farthest",
    # "dissimilar".
    choice = "random"
    """
    docs = field_docs(type(config)) if explain else {}
    lines = []
    for name, value in config.model_dump().items():
        lines += _comment(docs[name], type(config).model_fields[name].annotation) if explain else []
        lines += [f"# {name} = (left open)" if value is None else f"{name} = {json.dumps(value)}"]
        lines += [""] if explain else []
    return "\n".join(lines).rstrip() + "\n"


def _comment(text: str, kind: Any) -> list[str]:
    """Lines that say what a field of a kind means and, where few words are allowed, which."""
    text = text.replace("``", "")
    if get_origin(kind) is Literal:
        text += " One of " + ", ".join(map(json.dumps, get_args(kind))) + "."
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")
