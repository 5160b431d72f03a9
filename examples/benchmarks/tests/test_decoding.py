"""Short form of the decoding and relaxation measurements, so that they cannot rot."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter

import numpy as np
import pytest
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

import matgl_fill as mf
from examples.benchmarks.__main__ import app
from examples.benchmarks.generation.decoding import MAX_ATOMS, counting, found_again, withhold
from examples.benchmarks.generation.relaxation import Ledger, excess_energies, reference_crystals, relax_crystal
from matgl_fill.embedding import prepare_pool
from matgl_fill.errors import InputError
from matgl_fill.generation.candidate import Candidate
from matgl_fill.structures import bundled

POOL = str(bundled.ASSETS / "crystals_pool.jsonl.gz")
RUN = {"model": "m", "n": 1}


@pytest.fixture(scope="module")
def some(adapter, pool):
    return prepare_pool(adapter, pool.subset(range(120)))


def rock_salt(anion="Cl", a=5.64):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Na", anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def candidate(structure, distance=0.0):
    return Candidate(structure, 0, "made", distance, np.zeros(1))


def command(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.exception
    return done.stdout


def test_decode_comes_nearer_than_the_pool(tmp_path):
    file = tmp_path / "decode.jsonl"
    text = command("decode", bundled.MODEL, POOL, bundled.EVALUATION, "-n", 3, "--rounds", 1, "--json", file)
    assert "MEGNet: decoding from" in text
    figures = json.loads(file.read_text())
    for kind in ("withheld crystals", "roughness maxima"):
        found = figures[kind]
        assert found["targets"] == 3
        assert found["without candidate"] == 0
        assert found["embeddings"] > 0
        assert found["gradient passes"] > 0
        assert set(found["refused"]) <= set(mf.generation.filters.NAMES)
    assert figures["both"]["after refinement"][2] < figures["both"]["after search"][2]
    assert figures["both"]["after refinement"][2] < 1


def test_withheld_crystals_leave_no_crystal_of_their_formula(adapter, some):
    drawn, rest = withhold(adapter, some, some.structures, 10, 0)
    formulas = {s.composition.reduced_formula for s in drawn}
    assert len(drawn) == 10
    assert max(map(len, drawn)) <= MAX_ATOMS
    gone = [i for i, s in enumerate(some.structures) if s.composition.reduced_formula in formulas]
    assert rest.ids == [name for i, name in enumerate(some.ids) if i not in gone]
    np.testing.assert_array_equal(rest.Z, np.delete(some.Z, gone, axis=0))
    np.testing.assert_array_equal(rest.D, np.delete(some.D, gone, axis=0))
    again, _ = withhold(adapter, some, some.structures, 10, 0)
    assert again == drawn
    with pytest.raises(InputError, match="no crystal to withhold"):
        withhold(adapter, some, [], 10, 0)


def test_passes_are_counted_whatever_thread_makes_them(adapter, some):
    counted, passes = counting(adapter)
    Z, _ = counted.embed_graphs(some.graphs)
    np.testing.assert_array_equal(Z, some.Z)
    assert {kind for kind, _ in passes} == {"embedding"}
    assert sum(n for _, n in passes) == len(some.graphs)
    batch = counted.collate(some.graphs[:7]).movable()
    counted.forward(batch)
    assert passes[-1] == ("gradient", 7)


def test_recovery_asks_elements_formula_and_structure():
    salt, dense, bromide = rock_salt(), rock_salt(a=5.6), rock_salt("Br", 5.97)
    caesium = Structure.from_spacegroup("Pm-3m", Lattice.cubic(4.1), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    groups = [
        [candidate(dense)],
        [candidate(caesium)],
        [candidate(bromide)] * 4 + [candidate(dense)],
        [candidate(bromide)] * 5 + [candidate(dense)],
        [],
    ]
    shares = found_again(groups, [salt] * 5)
    assert shares == {"right elements": 0.4, "right formula": 0.4, "recovered": 0.4}


def test_relaxation_finds_the_equilibrium_volume_and_what_left_its_crystal():
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.7), ["Cu"], [[0, 0, 0]])
    done = relax_crystal(copper, EMT(), 0.01, 200)
    assert done.converged
    assert done.exploded == ""
    assert done.after < done.before
    assert done.volume == pytest.approx((3.59 / 3.7) ** 3, rel=0.005)
    assert done.displacement == pytest.approx(0, abs=1e-6)
    short = relax_crystal(copper, EMT(), 0.01, 1)
    assert not short.converged
    stretched = copper.copy()
    stretched.scale_lattice(2.3 * copper.volume)
    assert "volume times" in relax_crystal(stretched, EMT(), 0.05, 300).exploded
    displaced = copper.copy()
    displaced.translate_sites([0], [0.02, 0, 0], to_unit_cell=False)
    assert relax_crystal(displaced, EMT(), 0.005, 200).displacement > 0.01


def test_energies_above_references_are_zero_where_energies_add_up(pool):
    crystals = dict(zip(pool.ids, pool.structures, strict=True))
    present = {e.symbol for s in pool.structures for e in s.elements}
    value = {e: -1.0 - 0.3 * k for k, e in enumerate(sorted(present))}

    def row(name, **more):
        energy = sum(
            value[e] * x for e, x in crystals[name].composition.fractional_composition.get_el_amt_dict().items()
        )
        return {"id": name, "after": energy, "exploded": ""} | more

    chosen = reference_crystals(pool.structures, {"O", "F"}, 0)
    counts = [sum(e in {x.symbol for x in pool.structures[i].elements} for i in chosen) for e in ("O", "F")]
    assert min(counts) >= 12
    assert len(chosen) <= 24
    references = [row(name) for name in pool.ids]
    seen = Counter(e.symbol for s in pool.structures for e in s.elements)
    oxide = next(i for i, s in crystals.items() if "O" in s.composition and min(seen[e.symbol] for e in s.elements) > 9)
    high = row(oxide)
    high["after"] += 0.2
    excess, rest = excess_energies([row(oxide), high, row(oxide, exploded="volume times 3")], references, crystals)
    assert rest < 0.02
    assert excess[1] - excess[0] == pytest.approx(0.2)
    assert abs(excess[0]) < 0.03
    assert np.isnan(excess[2])
    other = [r for r in references if "O" not in crystals[r["id"]].composition]
    assert np.isnan(excess_energies([row(oxide)], other, crystals)[0]).all()


def test_ledger_cuts_a_line_left_in_part_and_refuses_another_run(tmp_path):
    path = tmp_path / "out.jsonl"
    ledger = Ledger(path, RUN)
    assert ledger.proposals(list) == []
    ledger.append({"kind": "parent", "id": "a"})
    whole = path.read_text()
    path.write_text(whole + '{"kind": "par')
    again = Ledger(path, RUN)
    assert again.done("parent") == {"a": {"kind": "parent", "id": "a"}}
    assert path.read_text() == whole
    with pytest.raises(InputError, match="another run"):
        Ledger(path, RUN | {"n": 2})


@pytest.mark.skipif(importlib.util.find_spec("sevenn") is None, reason="needs the extra 'sevennet'")
def test_relax_goes_on_where_it_was(tmp_path):
    out = tmp_path / "relaxed.jsonl"
    arguments = ("relax", bundled.MODEL, POOL, "-n", 1, "--steps", 2, "--out", out)
    text = command(*arguments)
    assert "crystals: about" in text
    assert "proposal above its parent" in text
    whole = out.read_text()
    rows = [json.loads(line) for line in whole.splitlines()]
    proposed = [r for r in rows[1:] if r["kind"] == "proposal"]
    assert [r["id"] for r in proposed] == [p["id"] for p in rows[0]["proposals"]] == ["fill-0001"]
    assert all(r["steps"] <= 2 and np.isfinite(r["after"]) and not r["exploded"] for r in proposed)
    cut = whole.splitlines(keepends=True)
    out.write_text("".join(cut[:-2]) + cut[-2][:40])
    command(*arguments)
    again = [json.loads(line) for line in out.read_text().splitlines()]
    for old, new in zip(rows, again, strict=True):
        assert {k: v for k, v in old.items() if k != "seconds"} == {k: v for k, v in new.items() if k != "seconds"}
