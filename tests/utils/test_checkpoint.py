"""State that long work keeps in a file: read back as it was written, or refused in one line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from matgl_fill.errors import InputError
from matgl_fill.utils.checkpoint import Checkpoint
from matgl_fill.utils.hashing import hash_state

FLIPS = 80
ARRAYS = some.arrays(st.sampled_from([np.float64, np.int64, np.bool_]), some.array_shapes(min_side=0, max_side=3))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ARRAYS,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
STATE = {
    "step": 3,
    "rows": [{"x": np.arange(6.0).reshape(2, 3), "moves": ("swap", 2)}, {"x": np.ones(2), "moves": ()}],
    "weights": {"a": torch.arange(5.0), "b": torch.zeros(2, 2, dtype=torch.int64)},
    "best": math.inf,
    "half": torch.ones(3, dtype=torch.bfloat16),
}


def saved(path, state=STATE, key="k") -> Checkpoint:
    checkpoint = Checkpoint(path, key, "the search")
    checkpoint.save(state)
    return checkpoint


@settings(deadline=None)
@given(state=st.dictionaries(st.text(), VALUES))
def test_a_state_comes_back_as_it_was(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "s.pt"
    assert hash_state(saved(path, state).load()) == hash_state(state)


LIKE = [
    (1, True),
    (1, 1.0),
    (1, "1"),
    (0.0, -0.0),
    ([1], (1,)),
    ([[1], [2]], [[1, 2], []]),
    ({"a": 1}, [("a", 1)]),
    (np.ones(2), np.ones((2, 1))),
    (np.ones(2), np.ones(2, dtype=np.float32)),
    (np.ones(2), torch.ones(2, dtype=torch.float64)),
    (None, "None"),
]


@pytest.mark.parametrize(("first", "second"), LIKE, ids=str)
def test_states_that_are_alike_have_other_checksums(first, second):
    assert hash_state({"x": first}) != hash_state({"x": second})


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    checkpoint = saved(tmp_path / "s.pt")
    whole = checkpoint.path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for bit in rng.choice(8 * len(whole), FLIPS, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        checkpoint.path.write_bytes(damaged)
        try:
            assert hash_state(checkpoint.load()) == hash_state(STATE)
        except InputError:
            refused += 1
    assert refused > 10


CHANGES = {
    "a missing name": lambda state: state.pop("step"),
    "a scalar for an array": lambda state: state["rows"][0].update(x=1.0),
    "another shape": lambda state: state["rows"][0].update(x=np.arange(6.0)),
    "another type": lambda state: state["rows"][0].update(x=np.arange(6).reshape(2, 3)),
    "another number": lambda state: state.update(step=4),
    "text for a number": lambda state: state.update(step="3"),
    "a list for a tuple": lambda state: state["rows"][0].update(moves=["swap", 2]),
    "another weight": lambda state: state["weights"]["a"].__setitem__(0, 1e-30),
    "one more row": lambda state: state["rows"].append({}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_contents_that_were_changed_are_refused(tmp_path, change):
    checkpoint = saved(tmp_path / "s.pt")
    content = {"key": "k", "sha256": hash_state(STATE), "state": checkpoint.load()}
    CHANGES[change](content["state"])
    torch.save(content, checkpoint.path)
    with pytest.raises(
        InputError, match=r"^the search cannot be resumed: .*s\.pt is damaged .*; remove this file [^\n]*$"
    ):
        checkpoint.load()


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        1,
        {"state": STATE},
        {"key": "k", "state": STATE},
        {"key": "k", "sha256": "0", "state": 1},
        {"key": "k", "sha256": hash_state([1]), "state": [1]},
        {"key": "k", "sha256": torch.zeros(2), "state": {}},
    ],
    ids=str,
)
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path, content):
    torch.save(content, tmp_path / "s.pt")
    with pytest.raises(InputError, match=r"^the search cannot be resumed: [^\n]*s\.pt is [^\n]*$"):
        Checkpoint(tmp_path / "s.pt", "k", "the search").load()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
def test_a_part_of_a_file_and_a_folder_are_refused(tmp_path, share):
    checkpoint = saved(tmp_path / "s.pt")
    whole = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="is not a saved state"):
        checkpoint.load()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is not a saved state"):
        Checkpoint(tmp_path / "folder", "k", "the search").load()


def test_the_state_of_other_work_is_refused(tmp_path):
    saved(tmp_path / "s.pt")
    with pytest.raises(InputError, match="belongs to another model, data, settings or seed"):
        Checkpoint(tmp_path / "s.pt", "other", "the search").load()
