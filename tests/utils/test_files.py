"""Files are replaced whole, one alone or all of a folder together."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from matgl_fill.utils.files import atomic_folder, atomic_write


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
