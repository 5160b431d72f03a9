"""Commands that fill-tune: ``run``, ``label``, ``tune``, ``config``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from matgl_fill.cli.common import (
    POOL,
    Config,
    Device,
    Model,
    Out,
    Overwrite,
    Seed,
    check_suffix,
    command,
    console,
    print_skipped,
    say,
)
from matgl_fill.config import FillConfig, settings_toml
from matgl_fill.errors import InputError
from matgl_fill.utils.counting import counted

PANEL = "Fill-tuning"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

Number = Annotated[int, typer.Option("--n", "-n", min=1, help="Crystals to generate.")]
Tasks = Annotated[
    list[str] | None,
    typer.Option(help="File of labelled crystals to evaluate on, never to train on; may be given again."),
]
Key = Annotated[
    str | None, typer.Option(help="Name of this label in the file of --labelled.", show_default="looked for")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the interrupted run in OUT; without this the run starts over.")
]
Pool = Annotated[
    str | None,
    typer.Argument(
        metavar="STRUCTURES",
        help="Pool of known crystals: CIF, POSCAR, extxyz, JSON(L)(.gz), ase.db or folder.",
        show_default="the bundled crystals",
    ),
]


@command(
    PANEL,
    "matgl-fill run default -o out  # the bundled model on the bundled crystals, a few minutes",
    "matgl-fill run my_model/ crystals/ -n 100 --tasks labelled.jsonl -o out  # your own, and what your tasks gain",
    "matgl-fill run my_model/ crystals/ --oracle sevennet -o out  # with energies and forces of SevenNet",
    "matgl-fill run my_model/ crystals/ -o out --resume  # goes on where it was interrupted",
)
def run(
    model: Model,
    structures: Pool = None,
    out: Out = Path("out"),
    n: Number = 100,
    seed: Seed = 0,
    objective: Annotated[
        str, typer.Option(help="auto, descriptor, denoise, oracle, or a sum: descriptor+denoise.")
    ] = "auto",
    oracle: Annotated[
        str | None, typer.Option(help="sevennet, chgnet, potential, a MatGL potential's directory, or module:factory.")
    ] = None,
    tasks: Tasks = None,
    config: Config = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = None,
) -> None:
    """Fill-tune MODEL on STRUCTURES and write the result to OUT.

    OUT holds the model with its card (model/), the crystals (proposals.extxyz, cif/), the settings (config.toml), and
    what the run did (report.json, report.html: open it first). The model is handed over only if the guard finds that
    nothing was lost; otherwise model/ is the original.

    A run that was interrupted goes on from OUT/run.partial when it is given again with --resume, and ends with the
    same crystals, weights and report. A finished run in OUT is replaced with --overwrite only.
    """
    settings = {"n": n, "objective": objective, "oracle": oracle, "seed": seed, "config": config, "resume": resume}
    settings |= {"overwrite": overwrite, "device": device}
    _fill_tune(model, structures, out, tasks, **settings)


@command(
    PANEL,
    "matgl-fill label new/proposals.extxyz --oracle sevennet -o labelled.extxyz  # what `propose` wrote to new/",
    "matgl-fill label new/proposals.extxyz --oracle mypackage:make_calculator  # any ASE calculator, DFT too",
    "matgl-fill tune potential crystals/ --labelled labelled.extxyz -o tuned  # then",
)
def label(
    frames: Annotated[
        str, typer.Argument(metavar="FRAMES", help="Crystals: extxyz, CIF, POSCAR, JSON(L)(.gz), ase.db or folder.")
    ],
    oracle: Annotated[
        str, typer.Option(help="sevennet, chgnet, potential, a MatGL potential's directory, or module:factory.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Extended XYZ to write.")] = Path("labelled.extxyz"),
) -> None:
    """Label FRAMES with energies, forces and stresses, one after the other, for `tune --labelled`.

    Results are kept after each crystal in a folder beside OUT (labelled.jobs). An interrupted call goes on from there
    when it is given again, and ends with the same file. A crystal on which the oracle fails is reported and left
    out; the next call tries it again. The command needs the extra `workflows`.
    """
    from matgl_fill.utils.files import check_writable
    from matgl_fill.workflows import label_locally

    check_suffix(out, "labelled crystals are written as extended XYZ", ".extxyz", ".xyz")
    folder = out.with_suffix(".jobs")
    check_writable(folder)
    try:
        labelled = label_locally(frames, oracle, folder)
    except KeyboardInterrupt:
        say("Interrupted. Give the same call again to go on.")
        raise typer.Exit(INTERRUPTED) from None
    labelled.write(out)
    left_out = f", {len(labelled.skipped)} left out" if labelled.skipped else ""
    say(f"{counted(len(labelled.frames), 'crystal')} labelled in {out}{left_out}.")
    say(f"Next: matgl-fill tune MODEL --labelled {out} -o tuned")


@command(
    PANEL,
    "matgl-fill propose my_model/ crystals/ -o new  # first, crystals for DFT in new/poscar",
    "matgl-fill tune my_model/ crystals/ --labelled dft.extxyz -o tuned  # then, learn from the results of DFT",
    "matgl-fill tune potential --oracle mypackage:make_calculator -n 50 -o tuned  # any ASE calculator as the oracle",
)
def tune(
    model: Model,
    structures: Pool = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            help="Extended XYZ of crystals with energies from DFT, and with forces and stresses if you have them."
        ),
    ] = None,
    energy_key: Key = None,
    forces_key: Key = None,
    stress_key: Key = None,
    oracle: Annotated[
        str | None,
        typer.Option(
            help="What labels generated crystals instead: sevennet, chgnet, potential, the directory of a MatGL "
            "potential, or module:factory, a function that gives an ASE calculator."
        ),
    ] = None,
    out: Out = Path("out"),
    n: Number = 100,
    seed: Seed = 0,
    tasks: Tasks = None,
    config: Config = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = None,
) -> None:
    """Fill-tune MODEL on energies, forces and stresses from DFT or from an oracle.

    Energies may be of another level of theory: elemental references are fitted, and report.json holds the error that
    they leave. OUT holds the same files as after `run`.
    """
    if (labelled is None) == (oracle is None):
        told = "there are no labels" if labelled is None else "both --labelled and --oracle are given"
        raise typer.BadParameter(f"{told}; give either --labelled or --oracle.")
    keys = {"energy_key": energy_key, "forces_key": forces_key, "stress_key": stress_key}
    said = FillConfig.make(config).changed(**{name: key for name, key in keys.items() if key is not None})
    settings = {"n": n, "oracle": oracle, "labelled": labelled, "seed": seed, "config": said, "resume": resume}
    settings |= {"overwrite": overwrite, "device": device}
    _fill_tune(model, structures, out, tasks, **settings)


@command(
    PANEL,
    "matgl-fill config --write settings.toml  # edit it",
    "matgl-fill run my_model/ crystals/ --config settings.toml -o out",
)
def config(
    write: Annotated[
        Path | None, typer.Option(help="File to write instead of printing; an existing one is not replaced.")
    ] = None,
) -> None:
    """Print every setting with its default and its meaning, as a TOML file that --config takes.

    The same names and values serve in Python: fill_tune(model, config="settings.toml") or config={"steps": 400}. A
    file holds the settings that you want to change; settings that are commented out are decided for the model.
    """
    text = settings_toml(FillConfig.make(None))
    if write is None:
        typer.echo(text, nl=False)
        return
    from matgl_fill.utils.files import atomic_write

    if write.exists():
        raise InputError(f"'{write}' exists already; give another name.")
    atomic_write(write, text)
    say(f"Settings written to {write}.")


def _fill_tune(model: str, structures: str | None, out: Path, tasks: list[str] | None, **settings: Any) -> None:
    """Fill-tune, write the result and print its summary."""
    from matgl_fill.adapters import load_model
    from matgl_fill.evaluation import read_tasks
    from matgl_fill.pipeline import fill_tune
    from matgl_fill.structures import bundled

    chosen = [t for source in tasks or [] for t in read_tasks(source)] or None
    loaded = load_model(model)
    if model in bundled.MODELS and chosen is None:
        chosen = read_tasks(POOL)
    pool = None if structures == POOL else structures
    try:
        result = fill_tune(loaded, pool, out=out, tasks=chosen, name=model, **settings)
    except KeyboardInterrupt:
        say("Interrupted. Give the same call with --resume to go on.")
        raise typer.Exit(INTERRUPTED) from None
    console.print(result)
    print_skipped(result.report.skipped or [], ", all in report.json")
    what = "tuned model" if result.accepted else "original"
    say(f"Done in {result.report.run.wall_seconds:.0f} s. Open {out / 'report.html'}; {out / 'model'} is the {what}.")
