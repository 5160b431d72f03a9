"""Responses of crystals, by name: the quantities whose variation makes a latent space rough."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pymatgen.core import Structure
from torch import nn

from matgl_fill.adapters import Adapter, get_adapter
from matgl_fill.embedding import check_usable
from matgl_fill.errors import InputError
from matgl_fill.roughness.similarity import perturbation_sensitivity
from matgl_fill.structures import describe_structures, rattled

AMPLITUDE = 0.05
"""Standard deviation (Angstrom) of each Cartesian coordinate's displacement."""

NAMES = ("neighbour_similarity", "perturbation_sensitivity", "prediction")
ResponseFunction = Callable[[Sequence[Structure]], np.ndarray]
"""A function of n structures to (n,) values."""


def displaced(structure: Structure, rng: np.random.Generator) -> Structure:
    """Copy a crystal with every atom displaced at random by ``AMPLITUDE``."""
    return rattled(structure, AMPLITUDE, AMPLITUDE, rng)[0]


def sensitivity(adapter: Adapter, structures: Sequence[Structure], seed: int = 0) -> np.ndarray:
    """Compute the sensitivity of embeddings to displaced atoms.

    It is that of :func:`~matgl_fill.roughness.similarity.perturbation_sensitivity`. A cell of one atom is repeated
    twice along every axis first: displacing its only atom would only shift the crystal.

    Args:
        adapter: Adapter of the model.
        structures: The n crystals, which the model can take.
        seed: Seed of the displacements.

    Returns:
        Sensitivity (n,), dimensionless. It costs eleven embeddings a crystal.
    """
    cells = [s * (2, 2, 2) if len(s) == 1 else s for s in structures]

    def embed(crystals: Sequence[Structure]) -> np.ndarray:
        return adapter.embed_graphs(adapter.graphs(crystals))[0].astype(float)

    return perturbation_sensitivity(embed, describe_structures, displaced, cells, seed=seed)


def predictions(adapter: Adapter, structures: Sequence[Structure]) -> np.ndarray:
    """Predict by the model, one value for each crystal.

    Args:
        adapter: Adapter of the model.
        structures: The n crystals, which the model can take.

    Returns:
        Predictions (n,) in the model's own unit; of a potential the total energy per atom (eV/atom), which is mostly
        composition.
    """
    y = adapter.embed_graphs(adapter.graphs(structures))[1]
    return adapter.intensive(y, np.array([len(s) for s in structures]))


def make_response(
    response: str | ResponseFunction,
    structures: Sequence[Structure] | None,
    model: nn.Module | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Compute one number a crystal, or the descriptors from which the analysis makes ``"neighbour_similarity"``.

    Args:
        response: Name of the response, or a callable from the list of structures to (n,) values.
        structures: The n crystals.
        model: Model behind the embedding, for ``"perturbation_sensitivity"`` and ``"prediction"``.
        seed: Seed of the displacements.

    Returns:
        Response (n,), or descriptors (n, k).

    Raises:
        InputError: The name is unknown, structures or model are missing where they are needed, the model cannot take a
            crystal, or the callable does not give one number a crystal.
    """
    if isinstance(response, str) and response not in NAMES:
        raise InputError(f"no response '{response}'; give {', '.join(NAMES)}, an array or a function of structures.")
    if structures is None:
        name = f"response '{response}'" if isinstance(response, str) else "a function as response"
        raise InputError(f"{name} needs the structures that were embedded; give structures=.")
    if callable(response):
        values = np.asarray(response(structures), dtype=float)
        if values.shape != (len(structures),):
            raise InputError(
                f"the response gave shape {values.shape} for {len(structures)} structures; give one number for each."
            )
        return values
    if response == "neighbour_similarity":
        return describe_structures(structures)
    if model is None:
        raise InputError(f"response '{response}' needs model=, the model behind the embedding.")
    adapter = get_adapter(model)
    names = [f"structure {i} ({s.formula})" for i, s in enumerate(structures)]
    check_usable(adapter, names, structures, "leave it out of Z and structures")
    return predictions(adapter, structures) if response == "prediction" else sensitivity(adapter, structures, seed)
