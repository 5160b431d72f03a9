"""Batches are bounded, and a crystal that is too large alone is refused before its graph is made."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

import matgl_fill as mf
from matgl_fill.adapters import base
from matgl_fill.embedding import prepare_pool
from matgl_fill.errors import CalculationError, InputError
from matgl_fill.structures import bundled_pool

PEAK = """
import resource, sys, warnings
warnings.filterwarnings("ignore")
import matgl_fill as mf
from matgl_fill.embedding import prepare_pool
model = mf.load_model("default")
adapter = mf.get_adapter(model)
known = mf.structures.bundled_pool(adapter.element_types).structures
crystals = [known[i % 300].copy() for i in range(int(sys.argv[1]))]
mf.embed(model, crystals[:300])
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for call in (lambda: mf.embed(model, crystals), lambda: prepare_pool(adapter, crystals)):
    call()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024)
"""


def test_memory_grows_by_little_with_the_number_of_crystals():
    """Megabytes that 1,200 crystals take above 300 of them, embedded and in a pool; a graph holds about 10 kB."""
    done = subprocess.run([sys.executable, "-c", PEAK, "1200"], check=True, capture_output=True, text=True, timeout=600)
    embedded, pool = map(float, done.stdout.split()[-2:])
    assert embedded < 30
    assert pool < 60


@given(st.lists(st.integers(0, 200), min_size=2, max_size=40), st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_batches_are_bounded_by_edges_and_atoms(rows, budget):
    adapter = mf.get_adapter(mf.load_model("default"))
    known = bundled_pool(adapter.element_types).structures
    sparse = Structure(
        Lattice.cubic(60), ["Na"] * 8, [[i / 2, j / 2, k / 2] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    )
    graphs = adapter.graphs([sparse if i % 3 == 0 else known[i] for i in rows])
    vars(adapter)["edges_per_batch"] = budget
    groups = adapter.groups(graphs)
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))
    for group in groups:
        if len(group) > 1:
            assert sum(graphs[i].n_edges for i in group) <= budget
            assert sum(graphs[i].n_atoms for i in group) <= budget


def test_a_crystal_that_is_too_large_alone_is_refused(monkeypatch):
    monkeypatch.setattr(base, "memory_bytes", lambda _: 10**9)
    model, potential = mf.load_model("default"), mf.load_model("potential")
    adapter = mf.get_adapter(model)
    pool = bundled_pool(adapter.element_types).structures[:30]
    large = bulk("NaCl", "rocksalt", a=5.69, cubic=True) * (13, 13, 13)
    with pytest.raises(InputError, match=r"too large: .* edges need .* GB"):
        mf.embed(model, [*pool, large])
    prepared = prepare_pool(adapter, [*pool, large])
    assert len(prepared) == 30
    assert "too large" in prepared.skipped[0].reason
    with pytest.raises(CalculationError, match=r"too large: .* fewer atoms"):
        mf.FillCalculator(potential, pool=pool).calculate(large)
