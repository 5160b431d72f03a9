"""Files are replaced whole, one alone or all of a folder together."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from matgl_fill.errors import InputError
from matgl_fill.utils.files import atomic_folder, atomic_write, check_unused, check_writable, read_arrays, write_arrays


def test_atomic_write_replaces_whole_files_only(tmp_path):
    path = tmp_path / "new" / "a.txt"
    atomic_write(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    atomic_write(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert path.stat().st_mode == plain.stat().st_mode  # as any new file, not private to the user
    (tmp_path / "folder" / "in").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        atomic_write(tmp_path / "folder", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "new", "plain"]


def test_a_folder_that_holds_what_would_be_replaced_is_refused(tmp_path):
    (tmp_path / "mine").touch()
    check_unused(tmp_path, ["a", "b"])
    check_unused(tmp_path / "new", ["mine"])
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="holds b already, and nothing is replaced unasked; give another folder, or"):
        check_unused(tmp_path, ["a", "b"])


def test_files_of_a_folder_change_together_and_others_stay(tmp_path):
    folder = tmp_path / "model"

    def write(place: Path, text: str, fail: bool = False) -> None:
        place.mkdir()
        (place / "a").write_text(text)
        if fail:
            raise OSError("no space")
        (place / "b").write_text(text)

    with pytest.raises(OSError, match="no space"):
        atomic_folder(folder, partial(write, text="old", fail=True))
    assert list(folder.iterdir()) == []
    atomic_folder(folder, partial(write, text="old"))
    (folder / "mine").write_text("x")
    with pytest.raises(OSError, match="no space"):
        atomic_folder(folder, partial(write, text="new", fail=True))
    assert {p.name: p.read_text() for p in folder.iterdir()} == {"a": "old", "b": "old", "mine": "x"}
    atomic_folder(folder, partial(write, text="new"))
    assert {p.name: p.read_text() for p in folder.iterdir()} == {"a": "new", "b": "new", "mine": "x"}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_process_that_dies_between_two_files_leaves_none_of_each(tmp_path, moves, monkeypatch):
    folder, replace, done = tmp_path / "model", Path.replace, []

    def write(place: Path, text: str) -> None:
        place.mkdir()
        for name in "abc":
            (place / name).write_text(text)

    def die(file: Path, target: Path) -> Path:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(file)
        return replace(file, target)

    atomic_folder(folder, partial(write, text="old"))
    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        atomic_folder(folder, partial(write, text="new"))
    assert [p.read_text() for p in folder.iterdir()] == ["new"] * moves


ARRAYS = {"x": np.arange(12.0).reshape(3, 4), "n": np.array(3), "name": np.array("text")}


def test_arrays_come_back_with_their_checksum(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    for names in ((), ("x", "n")):
        found = read_arrays(tmp_path / "a", "a file of arrays", names)
        assert found.keys() == set(names or ARRAYS)
        assert all(np.array_equal(found[k], ARRAYS[k]) for k in found)


def test_damaged_arrays_are_refused_in_one_line(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS)
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for bit in rng.choice(8 * len(whole), 150, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        try:
            found = read_arrays(path, "a file of arrays")
            assert all(np.array_equal(found[k], ARRAYS[k]) for k in ARRAYS)
        except InputError:
            refused += 1
    assert refused > 20
    for change in ({"x": np.array(1.0)}, {"x": ARRAYS["x"] + 1e-12}, {"n": np.array(3.0)}, {"more": np.ones(2)}):
        write_arrays(path, ARRAYS)
        with np.load(path) as file:
            np.savez(path, **dict(file) | change)
        with pytest.raises(InputError, match=r"^[^\n]*a\.npz is missing or not a file of arrays[^\n]*checksum[^\n]*$"):
            read_arrays(path, "a file of arrays")


def test_arrays_without_a_checksum_are_of_an_earlier_version(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    assert read_arrays(tmp_path / "a.npz", "a file of arrays").keys() == ARRAYS.keys()


@pytest.mark.parametrize("place", ["file/in/it", "/proc/nowhere/x", "file"])
def test_a_place_that_cannot_be_written_to_is_said_before(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to"):
        check_writable(tmp_path / place)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    check_writable(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
