"""Which crystals a model can take, and why it cannot take the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pymatgen.core import Structure

from matgl_fill.adapters import Adapter, Graph
from matgl_fill.errors import InputError
from matgl_fill.structures import Skipped


@dataclass(frozen=True)
class UsableCrystals:
    """Those of some crystals that a model can take.

    Attributes:
        rows: of them among all.
        skipped: the others, each with the reason.
        graphs: of the usable ones; none where they were not asked for.
    """

    rows: list[int]
    skipped: list[Skipped]
    graphs: list[Graph]


def graph_or_reason(adapter: Adapter, structure: Structure) -> Graph | str:
    """The graph of a crystal, or why it has none that is of use: an unknown element, or an atom without neighbour."""
    if reason := adapter.unsupported_reason(structure):
        return reason
    graph = adapter.graph(structure)
    if alone := graph.isolated_atoms():
        symbol = structure[alone[0]].specie.symbol
        return f"atom {alone[0]} ({symbol}) has no neighbour within {adapter.cutoff:g} A"
    return graph


def usable_crystals(
    adapter: Adapter, names: Iterable[str], structures: Sequence[Structure], graphs: bool = False
) -> UsableCrystals:
    """The crystals that a model can take.

    A model refuses an element that it does not know. An atom without any neighbour can be embedded, but nothing can be
    learnt from it: where graphs are asked for, crystals with such atoms are left out too.

    Args:
        adapter: of the model.
        names: of the crystals, for what is said of those that are left out.
        structures: crystals, as many as names.
        graphs: build the graphs of those that are usable.
    """
    found = UsableCrystals([], [], [])
    for i, (name, structure) in enumerate(zip(names, structures, strict=True)):
        answer = graph_or_reason(adapter, structure) if graphs else adapter.unsupported_reason(structure)
        if isinstance(answer, str):
            found.skipped.append(Skipped(name, answer))
            continue
        found.rows.append(i)
        if answer is not None:
            found.graphs.append(answer)
    return found


def check_usable(adapter: Adapter, names: Iterable[str], structures: Sequence[Structure], remedy: str) -> None:
    """Refuse crystals one of which the model cannot take.

    Args:
        adapter: of the model.
        names: of the crystals, for the error.
        structures: crystals, as many as names.
        remedy: what the caller can do about it.

    Raises:
        InputError: there is one with an unknown element.
    """
    if skipped := usable_crystals(adapter, names, structures).skipped:
        raise InputError(f"{skipped[0].where}: {skipped[0].reason}; {remedy}.")
