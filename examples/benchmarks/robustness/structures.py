"""Mutated files of crystals, and what reading and embedding make of them."""

from __future__ import annotations

import copy
import functools
import gzip
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar
from torch import nn

import matgl_fill as mf
from examples.benchmarks.robustness import mutators, witness
from examples.benchmarks.robustness.mutators import Rng
from examples.benchmarks.robustness.verdict import Case, Outcome, Right, Verdict, of_error, warned
from examples.benchmarks.robustness.witness import Facts
from matgl_fill.errors import InputError
from matgl_fill.structures import Skipped, bundled
from matgl_fill.training.labels import read_labelled

FORMATS = (
    "one.cif", "three.cif", "POSCAR", "one.vasp", "three.extxyz", "three.xyz.gz", "as_dict.json", "rows.json",
    "rows.jsonl", "rows.jsonl.gz", "as_dicts.json.gz", "three.db", "matbench.json.gz", "named.json", "answer.json.gz",
    "labelled.extxyz",
)  # fmt: skip
"""Names of the files that are mutated."""


@dataclass(frozen=True)
class Mutant:
    """A mutated file, what was changed, and what is right."""

    data: bytes
    what: str
    right: Right


@dataclass(frozen=True)
class Usual:
    """What the unchanged file gives: the crystals and their embedding."""

    structures: list[Structure]
    facts: list[Facts]
    Z: np.ndarray


def found_in(path: Path) -> tuple[list[Structure], list[Skipped], list[Facts]]:
    """Crystals of a file as the package reads them, what it skipped, and the crystals' facts with their labels.

    Raises:
        MatglFillError: The file is refused.
    """
    if not path.name.startswith("labelled"):
        found = mf.read_structures(path)
        return found.structures, found.skipped, [Facts.of_structure(s) for s in found]
    read = read_labelled(path)
    labels = zip(read.labels.energy, read.labels.forces, read.labels.stress, strict=True)
    facts = [Facts.of_structure(s).labelled(*own) for s, own in zip(read.structures, labels, strict=True)]
    return read.structures, read.skipped, facts


@functools.cache
def crystals() -> tuple[Structure, ...]:
    """Three small crystals of the package, which all files hold."""
    pool = mf.read_structures(bundled.ASSETS / "crystals_pool.jsonl.gz")
    return tuple([s for s in pool if 3 <= len(s) <= 8][:3])


def written(name: str, crystals: list[Structure], folder: Path) -> bytes:
    """Bytes of a file of that name with the crystals, of which some formats hold one."""
    path = folder / name
    if name.endswith(".cif"):
        some = crystals[:1] if name.startswith("one") else crystals
        text = "\n".join(str(CifWriter(s)).replace("data_", f"data_{k}_") for k, s in enumerate(some))
        return text.encode()
    if name in ("POSCAR", "one.vasp"):
        return Poscar(crystals[0]).get_str().encode()
    frames = [AseAtomsAdaptor.get_atoms(s, msonable=False) for s in crystals]
    if "xyz" in name:
        buffer = io.StringIO()
        for k, atoms in enumerate(frames):
            atoms.info = {"id": f"c{k}", "gap": 1.5}
            if name.startswith("labelled"):
                rng = np.random.default_rng(k)
                results = {"energy": -3.5 - k, "forces": rng.normal(size=(len(atoms), 3)), "stress": rng.normal(size=6)}
                atoms.calc = SinglePointCalculator(atoms, **results)
            ase.io.write(buffer, atoms, format="extxyz")
        return _zipped(name, buffer.getvalue().encode())
    if name.endswith(".db"):
        with connect(path) as rows:
            for k, atoms in enumerate(frames):
                rows.write(atoms, gap=1.5, name=f"c{k}")
        return path.read_bytes()
    return _zipped(name, _json(name, [_row(name, k, s) for k, s in enumerate(crystals)]))


def _row(name: str, k: int, s: Structure) -> Any:
    if name.startswith(("as_dict", "named")):
        return s.as_dict()
    if name.startswith("matbench"):
        return [s.as_dict(), 1.5 + k]
    if name.startswith("answer"):
        return {"material_id": f"mp-{k}", "structure": s.as_dict(), "band_gap": 1.5}
    plain = {"lattice": s.lattice.matrix.tolist(), "species": [e.symbol for e in s.species]}
    return {"id": f"c{k}", "structure": plain | {"frac_coords": s.frac_coords.tolist()}, "gap": 1.5 + k}


def _json(name: str, rows: list[Any]) -> bytes:
    if ".jsonl" in name:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    whole: Any = rows[0] if name == "as_dict.json" else rows
    if name.startswith("matbench"):
        whole = {"index": [f"mb-{k}" for k in range(len(rows))], "columns": ["structure", "gap"], "data": rows}
    elif name.startswith("answer"):
        whole = {"data": rows, "meta": {"total_doc": len(rows)}}
    elif name.startswith("named"):
        whole = {f"mp-{k}": row for k, row in enumerate(rows)}
    return json.dumps(whole, indent=1).encode()


def _zipped(name: str, data: bytes) -> bytes:
    return gzip.compress(data, mtime=0) if name.endswith(".gz") else data


def _unzipped(name: str, data: bytes) -> bytes:
    return gzip.decompress(data) if name.endswith(".gz") else data


def cases(seed: int, n: int) -> list[Case]:
    """``n`` mutants, all mutators in turn on all formats in turn."""
    model = mf.load_model("default")
    files: dict[str, bytes] = {}
    usual: dict[str, Usual] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            files[name] = written(name, list(crystals()), Path(folder))
            path = Path(folder, name)
            path.write_bytes(files[name])
            try:
                read, _, facts = found_in(path)
                usual[name] = Usual(read, facts, mf.embed(model, read))
            except InputError:  # an earlier version, which reads no such files
                usual[name] = Usual([], [], np.zeros(0))
    made = []
    for number, (mutate, name) in zip(range(n), _plan(), strict=False):
        judge = partial(_judge, mutate, name, files, seed + number, usual[name], model)
        made.append(Case("structure files", f"{name}, {mutate.__name__.strip('_')}", seed + number, judge))
    return made


def _plan() -> Iterator[tuple[Callable[[str, bytes, Rng], Mutant], str]]:
    turn = 0
    while True:
        for k, (mutate, takes) in enumerate(MUTATORS):
            names = [name for name in FORMATS if takes in name or not takes]
            yield mutate, names[(turn + k) % len(names)]
        turn += 1


def _judge(
    mutate: Callable[[str, bytes, Rng], Mutant],
    name: str,
    files: dict[str, bytes],
    seed: int,
    usual: Usual,
    model: nn.Module,
    folder: Path,
    tell: Callable[[str], None],
) -> Verdict:
    """Read one mutant and embed what was read."""
    mutant = mutate(name, files[name], np.random.default_rng(seed))
    tell(mutant.what)
    path = folder / name
    path.write_bytes(mutant.data)
    early = True
    try:
        with warned() as told:
            found, skipped, facts = found_in(path)
            early = False
            if wrong := [s for s in skipped if not s.reason.strip() or "\n" in s.reason]:
                return Verdict(Outcome.RAW, f"skipped without a reason in one line: {wrong[0]}")
            Z = mf.embed(model, found)
    except Exception as error:
        return of_error(error, early, mutant.right)
    reason = f"skipped {skipped[0].where}: {skipped[0].reason}" if skipped else "; ".join(told.texts[:1])
    if not np.isfinite(Z).all():
        return Verdict(Outcome.SILENT, "NaN or infinite embedding")
    same = len(found) == len(usual.structures) and all(map(_equal, found, usual.structures))
    if same and not any(one.differs(old) for one, old in zip(facts, usual.facts, strict=True)):
        return Verdict(Outcome.SAME) if np.array_equal(Z, usual.Z) else Verdict(Outcome.SILENT, "another embedding")
    if mutant.right is Right.SAME:
        return Verdict(Outcome.NEEDLESS, reason) if skipped else _same_crystals(facts, Z, usual)
    return _compared(path, mutant, facts, usual, reason)


def _compared(path: Path, mutant: Mutant, facts: list[Facts], usual: Usual, reason: str) -> Verdict:
    """Verdict of what was read, against the unchanged file, what the file declares, and another reader."""
    for one in facts:
        if word := witness.contradicted(path, one):
            return Verdict(Outcome.SILENT, f"the file says {word}")
    before = usual.facts
    new = [one for one in facts if all(one.differs(old) for old in before)]
    if not new and (reason or len(facts) >= len(before)):
        return Verdict(Outcome.TYPED, reason) if reason else Verdict(Outcome.SAME, "but for digits")
    if new and mutant.right is Right.REFUSE:
        return Verdict(Outcome.SILENT, f"read as {new[0].differs(before[0])}")
    try:
        says = witness.read(path)
    except Exception as error:
        word = new[0].differs(before[0]) if new else f"{len(facts)} of {len(before)} crystals"
        return Verdict(Outcome.SILENT, f"read as {word}; another reader: {error}")
    if len(facts) < len(says) and not reason:
        return Verdict(Outcome.SILENT, f"{len(facts)} of {len(says)} crystals, none skipped")
    if strange := [one for one in new if all(one.differs(other) for other in says)]:
        return Verdict(Outcome.SILENT, f"{strange[0].differs(says[0])} as another reader has it")
    return Verdict(Outcome.TYPED, reason) if reason else Verdict(Outcome.SAME, "what the file says")


def _equal(one: Structure, other: Structure) -> bool:
    """Whether two crystals are the same to the bit, where pymatgen's equality has a tolerance."""
    return (
        one.species == other.species
        and np.array_equal(one.lattice.matrix, other.lattice.matrix)
        and np.array_equal(one.frac_coords, other.frac_coords)
    )


def _same_crystals(facts: list[Facts], Z: np.ndarray, usual: Usual) -> Verdict:
    """The same crystals in another description have nearly the same embedding."""
    if len(facts) != len(usual.facts):
        return Verdict(Outcome.SILENT, f"{len(facts)} of {len(usual.facts)} crystals, none skipped")
    for one, old in zip(facts, usual.facts, strict=True):
        if word := one.differs(old):
            return Verdict(Outcome.SILENT, word)
    worst = float(np.abs(Z - usual.Z).max())
    return Verdict(Outcome.SILENT, f"embedding differs by {worst:.2g}") if worst > 1e-3 else Verdict(Outcome.SAME, "")


# -- bytes and texts ---------------------------------------------------------------------------------------------


def _bytes(_name: str, data: bytes, rng: Rng) -> Mutant:
    new, what = mutators.BYTES[int(rng.integers(len(mutators.BYTES)))](data, rng)
    return Mutant(new, what, Right.SAYS)


def _inner_bytes(name: str, data: bytes, rng: Rng) -> Mutant:
    """Bytes of the text inside a gzip file."""
    new, what = mutators.BYTES[int(rng.integers(len(mutators.BYTES)))](_unzipped(name, data), rng)
    return Mutant(_zipped(name, new), f"inside: {what}", Right.SAYS)


def _encoding(name: str, data: bytes, rng: Rng) -> Mutant:
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    text = _unzipped(name, data)
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
    return Mutant(_zipped(name, new), what, right)


def _compression(name: str, data: bytes, rng: Rng) -> Mutant:
    """Gzip where the name says otherwise, twice, cut or spoilt."""
    plain = _unzipped(name, data)
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


def _number(name: str, data: bytes, rng: Rng) -> Mutant:
    """One number of the text is another."""
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    text = _unzipped(name, data).decode()
    found = list(re.finditer(r"(?<![\w.])-?\d+\.\d+(?![\w.])", text))
    hit = found[int(rng.integers(len(found)))]
    values = (
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e18",
        "-1e6",
        "0.0",
        "1e-9",
        "x",
        "",
        "1.2.3",
        "0x1F",
        "1_0.5",
        "**",
        "9" * 400,
    )
    value = values[int(rng.integers(len(values)))]
    new = text[: hit.start()] + value + text[hit.end() :]
    return Mutant(_zipped(name, new.encode()), f"'{value[:20]}' instead of {hit[0]}", Right.SAYS)


def _integer(name: str, data: bytes, rng: Rng) -> Mutant:
    """One whole number of the text, such as a count of atoms, is another."""
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    text = _unzipped(name, data).decode()
    found = list(re.finditer(r"(?<![\w.])\d+(?![\w.])", text))
    if not found:
        return _number(name, data, rng)
    hit = found[int(rng.integers(len(found)))]
    values = ("0", "-1", "1", "2", "7", "1000000000", "99999999999999999999", "nan", "2.5", "")
    value = values[int(rng.integers(len(values)))]
    new = text[: hit.start()] + value + text[hit.end() :]
    return Mutant(_zipped(name, new.encode()), f"'{value}' instead of {hit[0]} at {hit.start()}", Right.SAYS)


def _line(name: str, data: bytes, rng: Rng) -> Mutant:
    """A line is missing, comes twice, or has changed places."""
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    lines = _unzipped(name, data).decode().split("\n")
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
    return Mutant(_zipped(name, "\n".join(new).encode()), what, Right.SAYS)


def _symbol(name: str, data: bytes, rng: Rng) -> Mutant:
    """An element is no element."""
    if name.endswith(".db"):
        return _bytes(name, data, rng)
    text = _unzipped(name, data).decode()
    found = [
        m for m in re.finditer(r"\b[A-Z][a-z]?\d*\b", text) if re.fullmatch(r"[A-Z][a-z]?", m[0].rstrip("0123456789"))
    ]
    hit = found[int(rng.integers(len(found)))]
    values = ("Xx", "X", "Vac", "Qq", "Uue", "D", "na", "1", "Ff", "é", "Og", "M")
    value = values[int(rng.integers(len(values)))]
    new = text[: hit.start()] + value + text[hit.end() :]
    return Mutant(_zipped(name, new.encode()), f"'{value}' instead of {hit[0]}", Right.SAYS)


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


def _json_rows(name: str, data: bytes, rng: Rng) -> Mutant:
    """Entries of JSON that are others, missing or too many."""
    text = _unzipped(name, data).decode()
    rows = [json.loads(line) for line in text.splitlines()] if ".jsonl" in name else json.loads(text)
    tree, what = mutators.TREES[int(rng.integers(len(mutators.TREES)))](rows, rng)
    if ".jsonl" in name:
        new = "".join(json.dumps(row) + "\n" for row in (tree if isinstance(tree, list) else [tree])).encode()
    else:
        new = json.dumps(tree).encode()
    return Mutant(_zipped(name, new), what, Right.SAYS)


def _json_text(name: str, data: bytes, rng: Rng) -> Mutant:
    new, what = mutators.json_text(_unzipped(name, data), rng)
    return Mutant(_zipped(name, new), what, Right.SAYS)


def _json_hostile(name: str, data: bytes, rng: Rng) -> Mutant:
    """Entries that name commands, in the form in which monty's decoders would call them."""
    text = _unzipped(name, data).decode()
    rows = [json.loads(line) for line in text.splitlines()] if ".jsonl" in name else json.loads(text)
    tree, what = mutators.hostile(copy.deepcopy(rows), rng)
    lines = tree if ".jsonl" in name and isinstance(tree, list) else [tree]
    new = "".join(json.dumps(row) + "\n" for row in lines) if ".jsonl" in name else json.dumps(tree)
    return Mutant(_zipped(name, new.encode()), what, Right.SAYS)


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
    text = _unzipped(name, data).decode()
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
    return Mutant(_zipped(name, new.encode()), what, right)


MUTATORS: tuple[tuple[Callable[[str, bytes, Rng], Mutant], str], ...] = (
    (_bytes, ""), (_number, ""), (_json_rows, ".json"), (_cif_text, ".cif"), (_poscar_text, "POSCAR"),
    (_xyz_text, "xyz"),
    (_cell, ""), (_sites, ""), (_inner_bytes, ".gz"), (_integer, ""), (_line, ""), (_encoding, ""), (_symbol, ""),
    (_compression, ""), (_json_text, ".json"), (_json_hostile, ".json"), (_bytes, ".db"), (_poscar_text, ".vasp"),
)  # fmt: skip
"""Mutators, each with a part of the names of the files that it takes."""
