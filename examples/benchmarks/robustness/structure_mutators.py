"""Mutators of files of crystals: their bytes, their texts, the crystals in them, and what single formats hold."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from examples.benchmarks.robustness import mutators
from examples.benchmarks.robustness.mutators import Mutant, Rng
from examples.benchmarks.robustness.structure_files import crystals, unzipped, written, zipped
from examples.benchmarks.robustness.verdict import Right

# -- bytes and texts ---------------------------------------------------------------------------------------------


def _bytes(_name: str, data: bytes, rng: Rng) -> Mutant:
    new, what = mutators.BYTES[int(rng.integers(len(mutators.BYTES)))](data, rng)
    return Mutant(new, what, Right.SAYS)


def _inner_bytes(name: str, data: bytes, rng: Rng) -> Mutant:
    """Bytes of the text inside a gzip file."""
    new, what = mutators.BYTES[int(rng.integers(len(mutators.BYTES)))](unzipped(name, data), rng)
    return Mutant(zipped(name, new), f"inside: {what}", Right.SAYS)


def _encoding(name: str, data: bytes, rng: Rng) -> Mutant:
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    text = unzipped(name, data)
    forms: tuple[tuple[bytes, str, Right], ...] = (
        (text.decode().encode("utf-16"), "UTF-16", Right.SAYS),
        (text.decode().encode("utf-32"), "UTF-32", Right.SAYS),
        (b"\xef\xbb\xbf" + text, "a byte order mark", Right.SAME),
        (text.replace(b"\n", b"\r\n"), "Windows' line ends", Right.SAME),
        (text + b"\n\n   \n", "blank lines at the end", Right.SAME),
        (text.replace(b" ", b"\x00"), "NUL for blanks", Right.SAYS),
        (text.replace(b".", b","), "decimal commas", Right.SAYS),
        (text.replace(b"0.", "०.".encode()), "digits of another script", Right.SAYS),
        (text.replace(b"-", "−".encode()), "typographic minus", Right.SAYS),
        (text.upper(), "upper case", Right.SAYS),
    )
    new, what, right = forms[int(rng.integers(len(forms)))]
    return Mutant(zipped(name, new), what, right)


def _compression(name: str, data: bytes, rng: Rng) -> Mutant:
    """Gzip where the name says otherwise, twice, cut or spoilt."""
    plain = unzipped(name, data)
    packed = gzip.compress(plain, mtime=0)
    forms = (
        (plain if name.endswith(".gz") else packed, "compression that the name denies"),
        (gzip.compress(packed, mtime=0), "compressed twice"),
        (packed[: int(rng.integers(len(packed)))], "a compressed file that is cut"),
        (mutators.flip(packed, rng)[0], "a bit in the compressed file"),
        (packed + packed, "two compressed files in one"),
    )
    new, what = forms[int(rng.integers(len(forms)))]
    return Mutant(new, what, Right.SAYS)


def _exchanged(name: str, text: str, hit: re.Match[str], values: Sequence[str], rng: Rng) -> Mutant:
    """One of the values in the place of a part of the text."""
    value = values[int(rng.integers(len(values)))]
    new = text[: hit.start()] + value + text[hit.end() :]
    return Mutant(zipped(name, new.encode()), f"'{value[:20]}' instead of {hit[0]} at {hit.start()}", Right.SAYS)


def _number(name: str, data: bytes, rng: Rng) -> Mutant:
    """One number of the text is another."""
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    text = unzipped(name, data).decode()
    found = list(re.finditer(r"(?<![\w.])-?\d+\.\d+(?![\w.])", text))
    hit = found[int(rng.integers(len(found)))]
    values = (
        "nan", "inf", "-inf", "1e400", "1e18", "-1e6", "0.0", "1e-9", "x", "", "1.2.3", "0x1F", "1_0.5", "**",
        "9" * 400,
    )  # fmt: skip
    return _exchanged(name, text, hit, values, rng)


def _integer(name: str, data: bytes, rng: Rng) -> Mutant:
    """One whole number of the text, such as a count of atoms, is another."""
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    text = unzipped(name, data).decode()
    found = list(re.finditer(r"(?<![\w.])\d+(?![\w.])", text))
    if not found:
        return _number(name, data, rng)
    hit = found[int(rng.integers(len(found)))]
    values = ("0", "-1", "1", "2", "7", "1000000000", "99999999999999999999", "nan", "2.5", "")
    return _exchanged(name, text, hit, values, rng)


def _line(name: str, data: bytes, rng: Rng) -> Mutant:
    """A line is missing, comes twice, or has changed places."""
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    lines = unzipped(name, data).decode().split("\n")
    k, other = (int(x) for x in rng.integers(len(lines), size=2))
    style = int(rng.integers(4))
    if style == 0:
        new, what = lines[:k] + lines[k + 1 :], f"line {k + 1} missing"
    elif style == 1:
        new, what = [*lines[:k], lines[k], *lines[k:]], f"line {k + 1} twice"
    elif style == 2:
        new, what = list(lines), f"lines {k + 1} and {other + 1} exchanged"
        new[k], new[other] = new[other], new[k]
    else:
        new, what = [*lines[:k], lines[k][: len(lines[k]) // 2], *lines[k + 1 :]], f"half of line {k + 1}"
    return Mutant(zipped(name, "\n".join(new).encode()), what, Right.SAYS)


def _symbol(name: str, data: bytes, rng: Rng) -> Mutant:
    """An element is no element."""
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    text = unzipped(name, data).decode()
    found = [
        m for m in re.finditer(r"\b[A-Z][a-z]?\d*\b", text) if re.fullmatch(r"[A-Z][a-z]?", m[0].rstrip("0123456789"))
    ]
    hit = found[int(rng.integers(len(found)))]
    values = ("Xx", "X", "Vac", "Qq", "Uue", "D", "na", "1", "Ff", "é", "Og", "M")
    return _exchanged(name, text, hit, values, rng)


# -- crystals ----------------------------------------------------------------------------------------------------


def _changed(change: Callable[[Structure, Rng], tuple[Any, str, Right]], name: str, rng: Rng) -> Mutant:
    """The file with one of its crystals changed."""
    some = list(crystals())
    k = int(rng.integers(1 if name in ("POSCAR", "one.vasp", "as_dict.json") else len(some)))
    some[k], what, right = change(some[k], rng)
    with tempfile.TemporaryDirectory() as folder:
        return Mutant(written(name, some, Path(folder)), f"crystal {k}: {what}", right)


def _cell(name: str, data: bytes, rng: Rng) -> Mutant:
    """Cells that are flat, tiny, huge, long or left-handed."""

    def change(s: Structure, rng: Rng) -> tuple[Structure, str, Right]:
        matrix, frac = np.array(s.lattice.matrix), np.array(s.frac_coords)
        style = int(rng.integers(7))
        if style == 0:
            order = [1, 0, 2]
            return Structure(matrix[order], s.species, frac[:, order]), "left-handed", Right.SAME
        if style == 1:
            matrix[2] = matrix[0] + matrix[1]
            return Structure(matrix, s.species, frac), "flat cell", Right.REFUSE
        if style == 2:
            return Structure(np.zeros((3, 3)) + 1e-12 * np.eye(3), s.species, frac), "no cell", Right.REFUSE
        if style == 3:
            return Structure(matrix * 0.05, s.species, frac), "cell of a twentieth", Right.REFUSE
        if style == 4:
            return Structure(matrix * np.array([[1e4], [1], [1]]), s.species, frac), "1e4 times as long", Right.SAYS
        if style == 5:
            return Structure(matrix * 1e6, s.species, frac), "cell 1e6 times as large", Right.SAYS
        return Structure(np.diag([1e-6, 1e4, 1e4]), s.species, frac), "cell of 1e-6 x 1e4 x 1e4 A", Right.REFUSE

    if ".cif" in name or name.endswith(".db"):  # their writers refuse some of these
        return _number(name, data, rng)
    return _changed(change, name, rng)


def _sites(name: str, data: bytes, rng: Rng) -> Mutant:
    """Atoms on one site, outside of the cell, far outside, too near."""

    def change(s: Structure, rng: Rng) -> tuple[Structure, str, Right]:
        frac, k = np.array(s.frac_coords), int(rng.integers(len(s)))
        style = int(rng.integers(5))
        if style == 0:
            return (
                Structure(s.lattice, [*s.species, s.species[k]], np.vstack([frac, frac[k]])),
                "an atom twice",
                Right.REFUSE,
            )
        if style == 1:
            near = frac[k] + s.lattice.get_fractional_coords([0.05, 0, 0])
            return (
                Structure(s.lattice, [*s.species, s.species[k]], np.vstack([frac, near])),
                "two 0.05 A apart",
                Right.REFUSE,
            )
        if style == 2:
            frac[k] += rng.integers(-3, 4, size=3)
            return Structure(s.lattice, s.species, frac), f"atom {k} outside of the cell", Right.SAME
        if style == 3:
            frac[k] += np.array([4000.0, 0, 0])
            return Structure(s.lattice, s.species, frac), f"atom {k} 4000 cells outside", Right.SAME
        frac[k] = np.nan
        return Structure(s.lattice, s.species, frac), f"atom {k} is nowhere", Right.REFUSE

    if ".cif" in name:
        return _number(name, data, rng)
    return _changed(change, name, rng)


# -- single formats ----------------------------------------------------------------------------------------------


def _entries(name: str, data: bytes) -> Any:
    """What a JSON file holds; of JSON Lines, the list of the lines."""
    text = unzipped(name, data).decode()
    return [json.loads(line) for line in text.splitlines()] if ".jsonl" in name else json.loads(text)


def _with_entries(name: str, tree: Any) -> bytes:
    """The file with other entries."""
    if ".jsonl" not in name:
        return zipped(name, json.dumps(tree).encode())
    lines = tree if isinstance(tree, list) else [tree]
    return zipped(name, "".join(json.dumps(row) + "\n" for row in lines).encode())


def _json_rows(name: str, data: bytes, rng: Rng) -> Mutant:
    """Entries of JSON that are others, missing or too many."""
    tree, what = mutators.TREES[int(rng.integers(len(mutators.TREES)))](_entries(name, data), rng)
    return Mutant(_with_entries(name, tree), what, Right.SAYS)


def _json_text(name: str, data: bytes, rng: Rng) -> Mutant:
    new, what = mutators.json_text(unzipped(name, data), rng)
    return Mutant(zipped(name, new), what, Right.SAYS)


def _json_hostile(name: str, data: bytes, rng: Rng) -> Mutant:
    """Entries that name commands, in the form in which monty's decoders would call them."""
    tree, what = mutators.hostile(_entries(name, data), rng)
    return Mutant(_with_entries(name, tree), what, Right.SAYS)


def _cif_text(_name: str, data: bytes, rng: Rng) -> Mutant:
    """What CIFs of databases hold: occupancies, hydrogens that are only declared, formulas that do not fit."""
    text = data.decode()
    row = re.search(r"(?m)^ +([A-Z][a-z]?) +\S+ +1 .*$", text)
    assert row is not None
    fields = row[0].split()
    forms: tuple[tuple[str, str, Right], ...] = (
        (text.replace(row[0], f"{row[0].rstrip()[:-1]}0.5", 1), "occupancy 0.5", Right.REFUSE),
        (text.replace(row[0], f"{row[0].rstrip()[:-1]}.", 1), "occupancy .", Right.SAYS),
        (text.replace(row[0], f"{row[0].rstrip()[:-1]}1.2", 1), "occupancy 1.2", Right.REFUSE),
        (text.replace(row[0] + "\n", "", 1), "a site missing", Right.REFUSE),
        (re.sub(r"(_chemical_formula_sum\s+')", r"\1H3 ", text, count=1), "H3 in the formula alone", Right.REFUSE),
        (text.replace("_atom_site_occupancy", "_atom_site_occupancy\n _atom_site_attached_hydrogens").replace(
            row[0], row[0] + "  2"), "attached hydrogens", Right.REFUSE),
        (text.replace(row[0], row[0] + "\n" + row[0].replace(fields[1], "twin"), 1), "a site twice", Right.REFUSE),
        (re.sub(r"(_cell_length_a\s+)\S+", r"\g<1>3.21(5)", text, count=1), "another length, and its error",
         Right.REFUSE),
        (re.sub(r"(_cell_angle_alpha\s+)\S+", r"\g<1>0.0", text, count=1), "an angle of 0", Right.REFUSE),
        (re.sub(r"(_cell_angle_alpha\s+)\S+", r"\g<1>180.0", text, count=1), "an angle of 180", Right.REFUSE),
        (text.replace("'x, y, z'", "'x, y, z'\n  2  '-x, -y, -z'", 1), "an inversion more", Right.REFUSE),
        (text.replace("'x, y, z'", "'x, y, q'", 1), "a symmetry that is none", Right.REFUSE),
        (text.replace("'x, y, z'", "'__import__(\"os\").system(\"touch CANARY\")'", 1), "a command as symmetry",
         Right.REFUSE),
        (text.replace(f" {fields[3]} ", " ? ", 1), "an unknown coordinate", Right.REFUSE),
        (text.replace("_cell_length_b", "_cell_length_q", 1), "no length b", Right.REFUSE),
    )  # fmt: skip
    new, what, right = forms[int(rng.integers(len(forms)))]
    return Mutant(new.encode(), what, right)


def _poscar_text(_name: str, data: bytes, rng: Rng) -> Mutant:
    """What POSCARs hold: scales, counts and lines too few or too many."""
    lines = data.decode().split("\n")
    counts = lines[6].split()

    def with_line(k: int, line: str) -> str:
        return "\n".join([*lines[:k], line, *lines[k + 1 :]])

    fewer = " ".join([str(int(counts[0]) - 1), *counts[1:]]) if int(counts[0]) > 1 else " ".join(counts[:-1])
    forms: tuple[tuple[str, str, Right], ...] = (
        (with_line(6, fewer), "a count too small", Right.REFUSE),
        (with_line(6, " ".join([str(int(counts[0]) + 1), *counts[1:]])), "a count too large", Right.REFUSE),
        (with_line(6, "1000000000"), "a count of 10^9", Right.REFUSE),
        (with_line(6, "-1"), "a negative count", Right.REFUSE),
        (with_line(1, "0.0"), "scale 0", Right.REFUSE),
        (with_line(1, "nan"), "scale NaN", Right.REFUSE),
        (with_line(1, "-50.0"), "the scale as a volume", Right.SAYS),
        (with_line(1, "1.0 1.0 1.0"), "three scales of 1", Right.SAME),
        (with_line(1, "1.0 1.0 1.5"), "three scales", Right.SAYS),
        ("\n".join([*lines[:5], *lines[6:]]), "no symbols", Right.REFUSE),
        (with_line(7, "Cartesian"), "cartesian, but fractions", Right.SAYS),
        (with_line(7, "nonsense"), "neither direct nor cartesian", Right.SAYS),
        (with_line(7, "Selective dynamics\nDirect"), "selective, but no flags", Right.SAYS),
        ("\n".join([*lines[:-1], "0.1 0.2 0.3", ""]), "a coordinate too many", Right.REFUSE),
        ("\n".join(lines[:8] + lines[9:]), "a coordinate missing", Right.REFUSE),
        (with_line(0, ""), "no comment", Right.SAME),
    )
    new, what, right = forms[int(rng.integers(len(forms)))]
    return Mutant(new.encode(), what, right)


def _xyz_text(name: str, data: bytes, rng: Rng) -> Mutant:
    """What extended XYZ holds: counts, properties and lattices that do not fit."""
    text = unzipped(name, data).decode()
    lines = text.split("\n")
    n = int(lines[0])
    forms: tuple[tuple[str, str, Right], ...] = (
        ("\n".join([str(n - 1), *lines[1:]]), "an atom too few announced", Right.REFUSE),
        ("\n".join([str(n + 1), *lines[1:]]), "an atom too many announced", Right.REFUSE),
        ("\n".join(["1000000000", *lines[1:]]), "10^9 atoms announced", Right.REFUSE),
        ("\n".join(["9" * 5000, *lines[1:]]), "5000 digits announced", Right.REFUSE),
        ("\n".join(["0", *lines[1:]]), "no atom announced", Right.REFUSE),
        (re.sub(r'pbc="[^"]*"', 'pbc="T T F"', text, count=1), "open in one direction", Right.SAYS),
        (re.sub(r'Lattice="[^"]*"', 'Lattice="1 0 0 0 1 0"', text, count=1), "a lattice of six", Right.REFUSE),
        (re.sub(r"Properties=\S+", "Properties=species:S:1:pos:R:2", text, count=1), "positions of two", Right.REFUSE),
        (re.sub(r"Properties=\S+", "Properties=pos:R:3", text, count=1), "no species", Right.REFUSE),
        (
            re.sub(r"Properties=\S+", "Properties=species:S:1:pos:R:3:forces:R:3", text, count=1),
            "no forces",
            Right.REFUSE,
        ),
        (re.sub(r"gap=\S+", "gap=nan", text, count=1), "a label that is NaN", Right.SAME),
        (re.sub(r"gap=\S+", 'gap="_JSON [[[["', text, count=1), "a label that is no JSON", Right.SAYS),
        (re.sub(r"id=\S+", "", text, count=1), "no id", Right.SAME),
        (text.replace('Lattice="', 'lattice="', 1), "lattice in lower case", Right.SAYS),
    )
    new, what, right = forms[int(rng.integers(len(forms)))]
    return Mutant(zipped(name, new.encode()), what, right)


MUTATORS: tuple[tuple[Callable[[str, bytes, Rng], Mutant], str], ...] = (
    (_bytes, ""), (_number, ""), (_json_rows, ".json"), (_cif_text, ".cif"), (_poscar_text, "POSCAR"),
    (_xyz_text, "xyz"),
    (_cell, ""), (_sites, ""), (_inner_bytes, ".gz"), (_integer, ""), (_line, ""), (_encoding, ""), (_symbol, ""),
    (_compression, ""), (_json_text, ".json"), (_json_hostile, ".json"), (_bytes, ".db"), (_poscar_text, ".vasp"),
)  # fmt: skip
"""Mutators, each with a part of the names of the files that it takes."""
