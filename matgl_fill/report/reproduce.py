"""How to repeat a run: its command, or its Python call, from the report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any


def command_line(report: Mapping[str, Any]) -> str | None:
    """The command of a run whose model, crystals and oracle were all given by name; None for others.

    Args:
        report: as in ``report.json``; its configuration is taken to be in ``config.toml``.

    >>> command_line({"call": {"model": "default", "structures": None, "n": 100, "seed": 0, "objective": "auto"}})
    'matgl-fill run default --config config.toml -n 100 --seed 0 -o out'
    """
    call = report.get("call") or {}
    if not call or any(isinstance(value, Mapping) for value in call.values()):
        return None
    labelled = call.get("labelled")
    words = ["matgl-fill", "tune" if labelled else "run", call["model"], call.get("structures")]
    words += ["--config", "config.toml", "-n", str(call["n"]), "--seed", str(call["seed"])]
    for name in ("oracle", "labelled"):
        words += [f"--{name}", call[name]] if call.get(name) else []
    if call["objective"] != "auto" and not labelled:
        words += ["--objective", call["objective"]]
    return shlex.join([w for w in words if w] + ["-o", "out"])


def python_call(report: Mapping[str, Any]) -> str | None:
    """The call of :func:`matgl_fill.fill_tune`; objects that were given stand by their argument's name.

    >>> call = {"model": {"type": "MEGNet"}, "structures": {"type": "list"}, "n": 5, "seed": 1, "oracle": None}
    >>> print(python_call({"call": call}))
    import matgl_fill as mf
    <BLANKLINE>
    # model: MEGNet; structures: list
    result = mf.fill_tune(model, structures=structures, n=5, seed=1, config="config.toml")
    """
    call = dict(report.get("call") or {})
    if not call:
        return None
    objects = {k: v["type"] for k, v in call.items() if isinstance(v, Mapping)}
    told = "; ".join(f"{name}: {kind}" for name, kind in objects.items())
    model = "model" if "model" in objects else f"mf.load_model({call['model']!r})"
    given = {k: k if k in objects else repr(v) for k, v in call.items() if k != "model" and v is not None}
    arguments = ", ".join([model, *(f"{k}={v}" for k, v in given.items()), 'config="config.toml"'])
    comment = f"# {told}\n" if told else ""
    return f"import matgl_fill as mf\n\n{comment}result = mf.fill_tune({arguments})"
