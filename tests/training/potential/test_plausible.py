from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import matgl_fill as mf
from matgl_fill.adapters import predict
from matgl_fill.errors import InputError
from matgl_fill.training import LabelledSet, Labels
from matgl_fill.training.potential.plausible import check_labels
from tests.helpers import DGL, displaced, salt

pytestmark = pytest.mark.skipif(DGL, reason="a potential learns from labels on PyG")


@pytest.fixture(scope="module")
def labelled():
    adapter = mf.get_adapter(mf.load_model("potential"))
    crystals = [displaced(salt(5.3 + 0.1 * k), 0.1) for k in range(6)] + [displaced(salt(4.2, ("Mg", "O")), 0.1)]
    found = predict(adapter, adapter.graphs(crystals))
    return adapter, LabelledSet(crystals, Labels(found.energy, found.forces, found.stress))


def changed(labelled: LabelledSet, **arrays) -> LabelledSet:
    return LabelledSet(labelled.structures, replace(labelled.labels, **arrays))


def test_right_labels_and_other_elemental_energies_pass(labelled):
    adapter, given = labelled
    check_labels(adapter, given, "them")
    shifts = {e.symbol: 3.0 * k for k, e in enumerate(sorted({x for s in given.structures for x in s.elements}))}
    check_labels(adapter, given.shifted(shifts), "them")
    check_labels(adapter, changed(given, forces=[1.8 * f for f in given.labels.forces]), "them")
    check_labels(adapter, changed(given, stress=np.full((len(given), 3, 3), np.nan)), "them")


def wrong(labels: Labels, n_atoms: np.ndarray):
    """Each mistake with the words that name it."""
    return {
        "Hartree/Bohr": {"forces": [f / 51.42 for f in labels.forces]},
        "meV/A": {"forces": [f * 1000 for f in labels.forces]},
        "forces of them have the opposite sign": {"forces": [-f for f in labels.forces]},
        "GPa": {"stress": labels.stress * 160.2},
        "stresses of them have the opposite sign": {"stress": -labels.stress},
        "those of an atom": {"energy": labels.energy / n_atoms},
        "to the last digit": {"energy": np.full(len(n_atoms), labels.energy[0])},
    }


@pytest.mark.parametrize("words", wrong(Labels(np.ones(1), [], np.ones((1, 3, 3))), np.ones(1)))
def test_wrong_units_signs_and_repeats_are_named(labelled, words):
    adapter, given = labelled
    n_atoms = np.array([len(s) for s in given.structures])
    if words == "those of an atom":  # of cells of different sizes, as files hold them
        doubled = [s * (2, 1, 1) if k % 2 else s for k, s in enumerate(given.structures)]
        found = predict(adapter, adapter.graphs(doubled))
        n_atoms = np.array([len(s) for s in doubled])
        given = LabelledSet(doubled, Labels(found.energy - 3.0 * n_atoms, found.forces, found.stress))
    with pytest.raises(InputError, match=words):
        check_labels(adapter, changed(given, **wrong(given.labels, n_atoms)[words]), "them")
