"""What is proposed for a potential: kinds by their shares, bases spread over the pool, exclusions, small pools."""

from __future__ import annotations

import json
from collections import Counter

import ase.io
import numpy as np
import pytest
from helpers import NACL, csv_rows, run_here
from hypothesis import given
from hypothesis import strategies as st

import matgl_fill as mf
from matgl_fill.config.config import Kind, SearchConfig
from matgl_fill.embedding import prepare_pool
from matgl_fill.errors import GenerationError, InputError, MatglFillWarning
from matgl_fill.generation import SearchRequest, propose_from
from matgl_fill.generation.configurations import MAKERS
from matgl_fill.generation.configure import base_rows, counts_of
from matgl_fill.generation.start import SearchStart
from matgl_fill.structures import elements_of, formulas_of
from matgl_fill.utils.checkpoint import Checkpoint

QUICK = {"displaced": 0.4, "strained": 0.2, "supercell": 0.1, "vacancy": 0.2, "surface": 0.1}
N = 20


@pytest.fixture(scope="module")
def potential():
    return mf.load_model("potential")


@pytest.fixture(scope="module")
def some(pool):
    return pool.subset(range(60))


@pytest.fixture(scope="module")
def proposals(potential, some):
    return mf.propose(potential, some, n=N, seed=0)


def test_kinds_come_by_their_shares_and_every_beginning_holds_most(proposals):
    kinds = Counter(p.kind for p in proposals)
    assert kinds == counts_of(SearchConfig().shares, N)
    assert set(kinds) == set(Kind.__args__)
    assert len({p.kind for p in proposals[: N // 2]}) == 7
    assert [p.id for p in proposals] == [f"fill-{k + 1:04d}" for k in range(N)]


def test_a_configuration_is_told_with_its_crystal_and_amplitudes(proposals, potential, some):
    own = dict(zip(some.ids, some.structures, strict=True))
    Z = dict(zip(some.ids, mf.embed(potential, some), strict=True))
    for p in proposals:
        parent = own[p.parent]
        assert p.displacement >= 0
        assert p.strain >= 0
        assert (p.displacement == 0) == (p.kind == "strained")
        assert (p.strain == 0) == (p.kind == "surface")
        assert p.moves
        assert len(p.structure) <= 24
        if p.kind in ("displaced", "strained", "supercell", "surface", "dynamics"):
            assert p.structure.composition.reduced_formula == parent.composition.reduced_formula
        if p.kind != "member":
            np.testing.assert_allclose(p.target, Z[p.parent], rtol=1e-5)
    assert "member" in {p.kind for p in proposals}
    rows = {p.target_row: p.target for p in proposals}
    assert len({t.tobytes() for t in rows.values()}) == len(rows)


def test_one_seed_gives_the_bits(potential, some, proposals):
    again = mf.propose(potential, some, n=N, seed=0)
    assert [p.structure for p in again] == [p.structure for p in proposals]
    assert [p.moves for p in again] == [p.moves for p in proposals]
    other = mf.propose(potential, some, n=N, seed=1, config={"shares": QUICK})
    assert not {p.moves for p in other} & {p.moves for p in proposals}


@given(st.dictionaries(st.sampled_from(Kind.__args__), st.floats(0, 1e3), min_size=1), st.integers(1, 500))
def test_counts_are_n_in_all_and_each_next_to_its_share(shares, n):
    if not sum(shares.values()):
        return
    counts = counts_of(shares, n)
    assert counts.total() == n
    for kind, share in shares.items():
        assert abs(counts[kind] - n * share / sum(shares.values())) < 1 + 1e-9


def test_excluded_elements_and_large_cells_are_in_no_kind(potential, pool):
    common = [e for e, _ in Counter(str(e) for s in pool.structures for e in s.elements).most_common(8)]
    found = mf.propose(potential, pool, n=N, seed=0, config={"exclude_elements": common, "max_atoms": 8})
    assert len(found) == N
    assert {p.kind for p in found} >= {"displaced", "strained", "vacancy", "member"}
    assert not set(elements_of([p.structure for p in found])) & set(common)
    assert max(len(p.structure) for p in found) <= 8


def test_exclusions_hold_for_a_property_model_too(model, pool):
    common = [e for e, _ in Counter(str(e) for s in pool.structures for e in s.elements).most_common(5)]
    found = mf.propose(model, pool, n=4, config={"exclude_elements": ", ".join(common), "max_atoms": 6})
    assert not set(elements_of([p.structure for p in found])) & set(common)
    assert max(len(p.structure) for p in found) <= 6
    assert {(p.kind, p.displacement, p.strain) for p in found} == {(None, None, None)}


def test_crystals_are_taken_formula_by_formula_and_each_before_any_again(potential, some):
    pool = prepare_pool(mf.get_adapter(potential), some)
    doubled = pool.joined(pool)
    rows = base_rows(doubled, pool.Z[[5, 3, 5]], SearchConfig(), 0)
    formulas = formulas_of([doubled.structures[i] for i in rows])
    different = len(set(formulas))
    assert formulas[0] == formulas_of([pool.structures[5]])[0]
    assert formulas[1] == formulas_of([pool.structures[3]])[0]
    assert len(set(formulas[:different])) == different
    assert sorted(rows) == sorted(i for i, s in enumerate(doubled.structures) if len(s) <= 24)


@pytest.mark.parametrize("kind", [k for k in Kind.__args__ if k != "member"])
def test_one_crystal_is_pool_enough(potential, kind):
    found = mf.propose(potential, [NACL.get_primitive_structure()], n=4, config={"shares": {kind: 1}})
    assert [p.kind for p in found] == [kind] * 4
    assert len({p.moves for p in found}) == 4
    assert all(np.isnan(p.roughness) and np.isnan(p.distance) for p in found)


def test_a_small_pool_has_displaced_crystals_in_place_of_new_members(potential):
    with pytest.warns(MatglFillWarning, match="only 0 of 1 new crystals .* a pool of at least 20 crystals, not 1"):
        found = mf.propose(potential, [NACL.get_primitive_structure()], n=10)
    assert Counter(p.kind for p in found)["displaced"] == 5
    assert len(found) == 10


def test_what_no_crystal_has_is_replaced_with_a_word(potential):
    with pytest.warns(MatglFillWarning, match="4 configurations of kind 'supercell' .* at most 8 atoms; displaced"):
        found = mf.propose(potential, [NACL], n=4, config={"shares": {"supercell": 1}, "max_atoms": 8})
    assert [p.kind for p in found] == ["displaced"] * 4


def test_a_pool_without_any_crystal_that_is_allowed_is_an_error(potential):
    for config in ({"max_atoms": 7}, {"exclude_elements": "Cl"}):
        with pytest.raises(GenerationError, match=r"every crystal of the pool has more than .* or an excluded element"):
            mf.propose(potential, [NACL], n=2, config={"shares": QUICK} | config)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"exclude_elements": "Tc, Xy"}, "'Xy' is no element; give symbols such as Tc"),
        ({"exclude_elements": 5}, "exclude_elements = 5"),
        ({"max_atoms": 0}, "max_atoms = 0"),
        ({"max_atoms": True}, "not true or false"),
        ({"shares": {"slab": 1}}, "no kind 'slab'; there are displaced, strained, supercell"),
        ({"shares": {"surface": -1}}, "the share of surface is -1; give a number from 0 on"),
        ({"shares": {"surface": True}}, "the share of surface is True"),
        ({"shares": {"surface": float("nan")}}, "the share of surface is nan"),
        ({"shares": {"surface": 0}}, "no kind has a share"),
        ({"shares": 3}, "give a table of kinds"),
    ],
)
def test_settings_that_are_none_are_refused_in_one_line(potential, setting, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as error:
        mf.propose(potential, [NACL], n=2, config=setting)
    assert "\n" not in str(error.value)


def test_an_interrupted_call_goes_on_to_the_same_configurations(potential, some, proposals, tmp_path, monkeypatch):
    file = tmp_path / "search.partial"
    saved = []

    class Interrupted(Checkpoint):
        def save(self, state):
            super().save(state)
            saved.append(len(state["done"]))
            if len(saved) == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("matgl_fill.generation.configure.Checkpoint", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            mf.propose(potential, some, n=N, seed=0, checkpoint=file)
    assert 0 < saved[-1] < N
    tried = []
    strained = MAKERS["strained"]
    monkeypatch.setitem(MAKERS, "strained", lambda *given: tried.append(given) or strained(*given))
    found = mf.propose(potential, some, n=N, seed=0, checkpoint=file)
    assert not tried
    assert [p.structure for p in found] == [p.structure for p in proposals]
    with pytest.raises(InputError, match="cannot be resumed"):
        mf.propose(potential, some, n=N, seed=2, checkpoint=file)


def test_a_finished_call_reads_what_it_saved(potential, some, proposals, tmp_path):
    file = tmp_path / "search.partial"
    for _ in range(2):
        found = mf.propose(potential, some, n=N, seed=0, checkpoint=file)
        assert [p.structure for p in found] == [p.structure for p in proposals]
    assert (tmp_path / "search.partial.configurations").exists()


def test_files_say_what_each_configuration_is(potential, tmp_path, monkeypatch, capsys):
    mf.structures.write_structures([NACL.get_primitive_structure()], tmp_path / "one.extxyz")
    (tmp_path / "shares.toml").write_text("[search]\nshares = { displaced = 3, surface = 1 }\n")
    arguments = ["potential", tmp_path / "one.extxyz", "-n", 4, "-o", tmp_path / "out", "--max-atoms", 12]
    arguments += ["--exclude", "Tc,Po", "--config", tmp_path / "shares.toml"]
    code, text, error = run_here(monkeypatch, capsys, "propose", *arguments)
    assert code == 0, error
    assert "proposed: displaced" in text
    rows = csv_rows(tmp_path / "out" / "proposals.csv")
    frames = ase.io.read(tmp_path / "out" / "proposals.extxyz", ":")
    for row, frame in zip(rows, frames, strict=True):
        assert frame.info["kind"] == row["kind"]
        assert frame.info["displacement"] == pytest.approx(float(row["displacement"]))
        assert frame.info["strain"] == pytest.approx(float(row["strain"]))
        assert row["distance"] == ""
        assert "roughness" not in frame.info
        assert len(frame) <= 12
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["kinds"] == {"displaced": 3, "surface": 1}
    assert summary["frustration"] is None
    assert summary["settings"]["exclude_elements"] == ["Tc", "Po"]
    assert summary["settings"]["max_atoms"] == 12
    assert not list((tmp_path / "out").glob("*.partial*"))
    assert not (tmp_path / "out" / "map.png").exists()
    code, _, error = run_here(monkeypatch, capsys, "propose", *arguments[:6], "--exclude", "Xy")
    assert code == 2
    assert "'Xy' is no element" in error


def test_an_oracle_labels_the_configurations_as_they_are(potential, some, tmp_path):
    """Every configuration is labelled, several of one crystal among them, and the report says what each is."""
    five = some.subset(range(25))
    quick = {"form": "add", "steps": 2, "copies": 0, "oracle_copies": 0, "enlarge_pool": 0, "replay_size": 20}
    result = mf.fill_tune(potential, five, n=30, oracle=potential, config=quick | {"align_size": 10, "shares": QUICK})
    assert len(result.proposals) == 30
    assert max(Counter(p.parent for p in result.proposals).values()) > 1
    assert [p.kind for p in result.report.proposals] == [p.kind for p in result.proposals]
    assert Counter(p.kind for p in result.proposals) == counts_of(QUICK, 30)
    again = mf.propose(potential, five, n=30, config={"shares": QUICK})
    assert [p.structure for p in again] == [p.structure for p in result.proposals]


def test_without_an_oracle_a_potential_learns_from_new_members(potential, some):
    pool = prepare_pool(mf.get_adapter(potential), some)
    rough = mf.roughness.graph_roughness(pool.Z, pool.D)
    found = propose_from(mf.get_adapter(potential), SearchStart.of(pool, rough), SearchRequest(2, 0)).proposals
    assert {p.kind for p in found} == {None}
