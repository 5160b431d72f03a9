"""Frames of extended XYZ files by ASE's parser, which takes the file at its word where that contradicts itself."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import ase.io
from ase import Atoms

from matgl_fill.structures.numerals import check_numerals, number_in
from matgl_fill.utils.counting import counted

DIGITS = 9
"""Number of digits of a number of atoms above which it is none."""


def parse_xyz(text: str) -> Iterator[Atoms | Exception]:
    """Each frame on its own, so that a bad one does not hide the others; an exception stands for one.

    A frame is left out where atoms follow that its number of atoms does not count, where its columns are not those
    that ``Properties`` announces, or where its comment has an open quote or a lattice under another name: ASE gives
    another crystal then.
    """
    lines = text.splitlines()
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        if not _is_count(lines[start]):
            yield ValueError(f"line {start + 1}: not a number of atoms; the rest of the file is not read")
            return
        atoms = int(lines[start])
        stop = start + 2 + atoms
        try:
            if stop > len(lines):
                raise ValueError(
                    f"line {start + 1} announces {counted(atoms, 'atom')}, but the file ends before the last"
                )
            if more := _uncounted(lines, stop):
                raise ValueError(f"line {start + 1} announces {counted(atoms, 'atom')}, but {atoms + more} follow")
            _check_frame(lines[start + 1], lines[start + 2 : stop], start + 3)
            yield ase.io.read(io.StringIO("\n".join(lines[start:stop]) + "\n"), format="extxyz")
        except Exception as error:  # ASE raises whatever it meets
            yield error
        start = stop + _uncounted(lines, stop)


def _is_count(line: str) -> bool:
    return line.strip().isdecimal() and len(line.strip()) <= DIGITS


def _uncounted(lines: list[str], stop: int) -> int:
    """Number of lines with atoms behind the end of a frame."""
    end = stop
    while end < len(lines) and sum(number_in(word) is not None for word in lines[end].split()[1:]) > 2:
        end += 1
    return end - stop


def _check_frame(comment: str, rows: list[str], first: int) -> None:
    """Check what ASE does not.

    Args:
        comment: Second line of the frame.
        rows: Lines of its atoms.
        first: Number of the first of these lines in the file.

    Raises:
        ValueError: Something contradicts itself.
    """
    if len(re.findall(r'(?<!\\)"', comment)) % 2:
        raise ValueError(f"line {first - 1}: a quote is not closed")
    if (key := re.search(r"\blattice(?=\s*=)", comment, re.I)) and key[0] != "Lattice":
        raise ValueError(f"line {first - 1}: '{key[0]}' is no key of extended XYZ; write Lattice")
    if lattice := re.search(r'\bLattice\s*=\s*"([^"]*)"', comment):
        check_numerals(lattice[1].split())
    announced = re.search(r'\bProperties\s*=\s*"?([^\s"]+)', comment)
    columns = sum(int(number) for number in announced[1].split(":")[2::3]) if announced else None
    for k, row in enumerate(rows):
        words = row.split()
        check_numerals(words)
        if columns is not None and len(words) != columns:
            raise ValueError(f"line {first + k}: {len(words)} columns, but Properties announces {columns}")
