"""The pool: what it says of itself, parts of it, and which crystals a model can take."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from matgl_fill.embedding import Pool, check_usable, graph_or_reason, prepare_pool, usable_crystals
from matgl_fill.errors import InputError

ALONE = Structure(Lattice.cubic(30), ["Na"], [[0, 0, 0]])
UNKNOWN = Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]])


@pytest.fixture(scope="module")
def prepared(adapter, pool) -> Pool:
    return prepare_pool(adapter, [*pool.structures[:30], ALONE, UNKNOWN])


def test_a_pool_counts_itself(prepared):
    assert len(prepared) == 30 == len(prepared.graphs)
    assert prepared.n_atoms.tolist() == [len(s) for s in prepared.structures]
    assert prepared.n_edges.tolist() == [g.n_edges for g in prepared.graphs]
    assert prepared.elements == tuple(sorted({e.symbol for s in prepared.structures for e in s.elements}))


@pytest.mark.parametrize("rows", [[3, 1], np.array([3, 1]), []])
def test_a_part_of_a_pool_holds_the_same_rows_of_everything(prepared, rows):
    part = prepared.subset(rows)
    assert part.ids == [prepared.ids[i] for i in rows]
    assert part.structures == [prepared.structures[i] for i in rows]
    assert part.graphs == [prepared.graphs[i] for i in rows]
    for whole, some in ((prepared.Z, part.Z), (prepared.y, part.y), (prepared.D, part.D)):
        np.testing.assert_array_equal(some, whole[np.array(rows, dtype=int)])
    assert part.n_atoms.tolist() == [len(prepared.structures[i]) for i in rows]
    assert part.skipped == prepared.skipped


def test_what_a_model_cannot_take_is_left_out_with_the_reason(prepared, adapter, pool):
    reasons = [s.reason for s in prepared.skipped]
    assert reasons == [
        f"atom 0 (Na) has no neighbour within {adapter.cutoff:g} A",
        "element Po is unknown to the model",
    ]
    assert graph_or_reason(adapter, ALONE) == reasons[0]
    found = usable_crystals(adapter, ["a", "b", "c"], [UNKNOWN, pool.structures[0], ALONE])
    assert found.rows == [1, 2]
    assert [s.where for s in found.skipped] == ["a"]
    assert found.graphs == []
    with_graphs = usable_crystals(adapter, ["a", "b", "c"], [UNKNOWN, pool.structures[0], ALONE], graphs=True)
    assert with_graphs.rows == [1]
    assert len(with_graphs.graphs) == 1


def test_a_crystal_that_is_needed_is_refused_with_the_same_reason(adapter, pool):
    check_usable(adapter, ["a", "b"], [pool.structures[0], ALONE], "leave it out")
    with pytest.raises(InputError, match=r"^b: element Po is unknown to the model; leave it out\.$"):
        check_usable(adapter, ["a", "b"], [pool.structures[0], UNKNOWN], "leave it out")


def test_too_few_crystals_are_no_pool(adapter, pool):
    with pytest.raises(InputError, match="1 usable crystal, at least 20 are needed"):
        prepare_pool(adapter, pool.structures[:1])
