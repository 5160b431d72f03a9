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
    """The crystals of a list that a model can take.

    Attributes:
        rows: Rows of the usable crystals in the list.
        skipped: The other crystals, each with the reason.
        graphs: Graphs of the usable crystals; empty where they were not asked for.
    """

    rows: list[int]
    skipped: list[Skipped]
    graphs: list[Graph]


def graph_or_reason(adapter: Adapter, structure: Structure) -> Graph | str:
    """Graph of a crystal, or why it has no usable one: an unknown element, or an atom without neighbours."""
    if reason := adapter.unsupported_reason(structure):
        return reason
    graph = adapter.graph(structure)
    if alone := graph.isolated_atoms():
        symbol = structure[alone[0]].specie.symbol
        return f"atom {alone[0]} ({symbol}) has no neighbour within {adapter.cutoff:g} A"
    return adapter.oversize_reason(graph.n_edges) or graph


def usable_crystals(
    adapter: Adapter, names: Iterable[str], structures: Sequence[Structure], graphs: bool = False
) -> UsableCrystals:
    """Find the crystals that a model can take.

    A model refuses elements that it does not support. An atom without any neighbour can be embedded, but a model learns
    nothing from it: where graphs are asked for, crystals with such atoms are left out too.

    Args:
        adapter: Adapter of the model.
        names: Names of the crystals, which name those that are left out.
        structures: The crystals, as many as names.
        graphs: Whether to build the graphs of the usable crystals.
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
    """Check that the model can take every crystal.

    Args:
        adapter: Adapter of the model.
        names: Names of the crystals, for the error.
        structures: The crystals, as many as names.
        remedy: What the caller can do about a refused crystal, for the error.

    Raises:
        InputError: A crystal holds an element that the model does not support.
    """
    if skipped := usable_crystals(adapter, names, structures).skipped:
        raise InputError(f"{skipped[0].where}: {skipped[0].reason}; {remedy}.")
