"""Parts that all commands share: the application, options, reading of crystals, and messages about skipped ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from typer.core import TyperCommand

from matgl_fill import __version__
from matgl_fill.config.config import GROUP_OF
from matgl_fill.errors import InputError

if TYPE_CHECKING:
    from matgl_fill.adapters import Adapter
    from matgl_fill.structures import Skipped, StructureSet

SHOWN = 10
"""Largest number of lines about crystals that were left out."""
FILES = {
    ".cif", ".csv", ".extxyz", ".gz", ".html", ".json", ".jsonl", ".npy", ".npz", ".parquet", ".png", ".pt", ".svg",
    ".toml", ".txt", ".xls", ".xlsx", ".xyz", ".zip",
}  # fmt: skip
"""Suffixes that folders do not have."""
POOL = "default"
"""Word by which a user asks for the bundled crystals or the bundled tasks."""

CODES = """**Exit codes**

- 0: done, also when the guard returned the original
- 1: any other failure
- 2: input that cannot be used
- 3: a model that cannot be used
- 4: no crystal could be generated
- 5: an oracle that is missing or fails
- 6: workers or a scheduler are missing or were lost; repeat the call to go on
- 130: interrupted; repeat the call to go on, `run` and `tune` with `--resume`
"""
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Fill-tuning for MatGL: find the rough regions of a pretrained model's latent space and fill them.\n\n"
    "Try `matgl-fill doctor` first, then `matgl-fill run default -n 20 -o out` and open "
    "out/report.html. `matgl-fill COMMAND --help` shows examples.",
    epilog=CODES,
)
console = Console()
F = TypeVar("F", bound=Callable[..., None])


def check_suffix(out: Path, what: str, *suffixes: str) -> None:
    """Refuse a file's name that tells another format than that of what will be written to it.

    Args:
        out: The file.
        what: What will be written, and in which format.
        suffixes: Suffixes that the name may have; the first is advised.

    Raises:
        InputError: The name has another suffix, or none.
    """
    if out.suffix.lower() not in suffixes:
        raise InputError(f"-o {out}: {what}; name it {out.parent / (out.stem or 'out')}{suffixes[0]}.")


def check_folder_name(out: Path) -> Path:
    """Refuse a folder's name that looks like that of a file, for which a user may take it.

    Raises:
        InputError: It does, and there is no such folder yet.
    """
    if out.suffix.lower() in FILES and not out.is_dir():
        raise InputError(f"-o {out}: a folder of several files is written; name it {out.with_suffix('')}.")
    return out


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Model directory or hub name; 'default' is the bundled property model, 'potential' the bundled potential.",
    ),
]
Structures = Annotated[
    str,
    typer.Argument(
        metavar="STRUCTURES",
        help="CIF, POSCAR, extxyz, JSON(L)(.gz), Parquet, ase.db or folder; 'default': the bundled crystals.",
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", callback=check_folder_name, help="Folder for everything that is written.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what OUT holds of an earlier call.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random choices; the same seed gives the same result.")]
Config = Annotated[
    Path | None, typer.Option(help="TOML or YAML file of settings; `matgl-fill config` prints them all.")
]
Device = Annotated[
    str | None,
    typer.Option(help="Device to compute on: cpu, cuda, cuda:1, mps; `doctor` tries them.", show_default="cpu"),
]
State = Annotated[int | None, typer.Option(help="Fidelity of multi-fidelity models.")]


def _print_version(asked: bool) -> None:
    """Print the version and end, where it is asked for."""
    if asked:
        typer.echo(f"matgl-fill {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the command line itself."""


class _Command(TyperCommand):
    """Command that says of an unknown option like a setting where settings go."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; the parser's error about an unknown option gets a hint."""
        known = {name for one in self.params for name in one.opts}
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            name = getattr(error, "option_name", "--config")
            near = get_close_matches(name.lstrip("-").replace("-", "_"), GROUP_OF, 1)
            if "--config" in known and name not in known and near:
                hint = f"settings go into the file of --config FILE, such as a line '{near[0]} = ...'."
                error.message = f"{error.message.rstrip('.')}; {hint}"  # type: ignore[attr-defined]
            raise


def command(panel: str, *examples: str) -> Callable[[F], F]:
    """Make a function a command of the application.

    Args:
        panel: Panel under which the command is listed.
        examples: Calls, each with an explanation behind ``#``, which are shown under the command's help.
    """
    lines = ["**Examples**", ""]
    for example in examples:
        call, _, what = example.partition("  # ")
        lines.append(f"- {what}: `{call}`" if what else f"- `{call}`")

    def register(function: F) -> F:
        text = "\n\n".join(" ".join(part.split()) for part in (function.__doc__ or "").split("\n\n"))
        return app.command(cls=_Command, rich_help_panel=panel, help=text, epilog="\n".join(lines))(function)

    return register


def read(adapter: Adapter, source: str) -> tuple[StructureSet, list[Skipped]]:
    """Read the crystals of a path, or the bundled ones, as far as a model can take them.

    Args:
        adapter: Adapter of the model.
        source: Path of the crystals, or :data:`POOL` for the bundled ones.

    Returns:
        The crystals, and those that were left out, with reasons.

    Raises:
        InputError: None of the crystals can be used.
    """
    from matgl_fill.structures import bundled, read_structures

    return usable(adapter, bundled.bundled_pool(adapter.element_types) if source == POOL else read_structures(source))


def usable(adapter: Adapter, pool: StructureSet) -> tuple[StructureSet, list[Skipped]]:
    """Crystals of a pool that a model can take, and those that were left out, with reasons.

    Raises:
        InputError: None of the crystals can be used.
    """
    from matgl_fill.embedding import usable_crystals

    found = usable_crystals(adapter, pool.ids, pool.structures)
    skipped = pool.skipped + found.skipped
    if not found.rows:
        raise InputError(
            f"{adapter.name} can take none of the crystals; first: {skipped[0].where}: {skipped[0].reason}."
        )
    return replace(pool.subset(found.rows), skipped=[]), skipped


def print_skipped(skipped: Sequence[Skipped], where_all: str = "") -> None:
    """Print the first crystals that were left out, and where all of them are listed.

    Args:
        skipped: Crystals that were left out, and why.
        where_all: Words about the file that lists all of them, such as ``", all in summary.json"``.
    """
    for one in skipped[:SHOWN]:
        console.print(f"skipped {one.where}: {one.reason}", style="yellow", highlight=False, markup=False)
    if len(skipped) > SHOWN:
        console.print(f"... and {len(skipped) - SHOWN} more{where_all}", style="yellow")


def say(text: Any) -> None:
    """Print a line or a table on the terminal, as it is."""
    console.print(text, highlight=False, markup=False)
