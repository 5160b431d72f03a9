"""The command or Python call that repeats a run, from its report."""

from __future__ import annotations

import shlex

from matgl_fill.report.model import CallSection, GivenObject


def command_line(call: CallSection | None) -> str | None:
    """The command of a run whose model, crystals and oracle were all given by name; None for others.

    Args:
        call: Arguments in the report; the command takes the settings from ``config.toml``.

    >>> command_line(CallSection(model="default", n=100, seed=0))
    'matgl-fill run default --config config.toml -n 100 --seed 0 -o out'
    """
    if call is None or any(isinstance(value, GivenObject) for _, value in call):
        return None
    words = ["matgl-fill", "tune" if call.labelled else "run", call.model, call.structures]
    words += ["--config", "config.toml", "-n", str(call.n), "--seed", str(call.seed)]
    for name in ("oracle", "labelled"):
        words += [f"--{name}", given] if (given := getattr(call, name)) else []
    if call.objective != "auto" and not call.labelled:
        words += ["--objective", call.objective]
    return shlex.join([str(w) for w in words if w] + ["-o", "out"])


def python_call(call: CallSection | None) -> str | None:
    """The call of :func:`matgl_fill.fill_tune`; objects that were given are named by their argument.

    >>> print(python_call(CallSection(model=GivenObject(type="MEGNet"), structures="pool.cif", n=5, seed=1)))
    import matgl_fill as mf
    <BLANKLINE>
    # model: MEGNet
    result = mf.fill_tune(model, structures='pool.cif', n=5, objective='auto', seed=1, config="config.toml")
    """
    if call is None:
        return None
    given = dict(call)
    objects = {name: value.type for name, value in given.items() if isinstance(value, GivenObject)}
    told = "; ".join(f"{name}: {kind}" for name, kind in objects.items())
    model = "model" if "model" in objects else f"mf.load_model({call.model!r})"
    others = {k: k if k in objects else repr(v) for k, v in given.items() if k != "model" and v is not None}
    arguments = ", ".join([model, *(f"{k}={v}" for k, v in others.items()), 'config="config.toml"'])
    comment = f"# {told}\n" if told else ""
    return f"import matgl_fill as mf\n\n{comment}result = mf.fill_tune({arguments})"
