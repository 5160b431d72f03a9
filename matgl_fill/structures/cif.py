"""Crystals of CIF files by pymatgen's parser, whose warnings are either reasons to leave a crystal out or remarks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.structures.numerals import check_numerals, number_in
from matgl_fill.structures.placement import FARTHEST
from matgl_fill.structures.sets import Remark, reason_of

INCOMPLETE = ("Missing elements", "Incorrect stoichiometry", "implicit hydrogens")
"""Words of the warnings with which pymatgen gives another crystal than the one that the file describes."""
HARMLESS = "fractional coordinates rounded to ideal values"
"""Words of a remark that CIFs of pymatgen itself bring about, for thirds that they write in few digits."""
SPACE_GROUP = re.compile(r"_(symmetry|space_group)_(space_group_name|name_h-m|name_hall|it_number|int_tables)", re.I)
OPERATIONS = (
    "_symmetry_equiv_pos_as_xyz", "_symmetry_equiv_pos_as_xyz_", "_space_group_symop_operation_xyz",
    "_space_group_symop_operation_xyz_",
)  # fmt: skip
OPERATION = re.compile(r"[xyz\d+\-*/.]+(,[xyz\d+\-*/.]+){2}")
"""Symmetry operation; pymatgen takes 0 for each other letter."""
VOLUME_TOLERANCE = 0.01
"""Share by which a CIF's own volume may differ from that of its lengths and angles, which are rounded."""
NO_SPACE_GROUP = ("", "?", ".", "1", "P1")


def parse_cif(text: str) -> Iterator[Structure | Remark | Exception]:
    """Each data block that holds atoms: its crystal, or why there is none, and what pymatgen remarks on it.

    pymatgen reads on where the atoms of a file are not those of its formula, where hydrogens are counted but not
    placed, where an occupancy is no number and where it does not know the space group, and gives a crystal that the
    file does not describe. Those are left out.
    """
    text = "\n".join(text.splitlines())
    blocks = [block for block in re.split(r"(?mi)^\s*data_", text)[1:] if "_atom_site_" in block]
    if not blocks:
        yield ValueError("unparsable CIF: no data block with atom sites")
    for block in blocks:
        yield from _parse_block(block)


def _parse_block(block: str) -> Iterator[Structure | Remark | Exception]:
    from pymatgen.io.cif import CifParser

    parser, structure, failure = None, None, ""
    with warnings.catch_warnings(record=True, action="always") as caught:
        try:
            parser = CifParser.from_str(f"data_{block}")
            structure = parser.parse_structures(primitive=False, on_error="raise")[0]
        except Exception as error:  # third-party parsers raise anything
            failure = f"unparsable CIF: {reason_of(error)}"
    said = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    said += parser.warnings if parser else []
    notes = list(dict.fromkeys(" ".join(one.split()) for one in said))
    if parser is None or structure is None:
        yield ValueError(failure + "".join(f" ({note})" for note in notes))
        return
    wrong = next((note for note in notes if any(word in note for word in INCOMPLETE)), None)
    data = next(iter(parser.as_dict().values()))
    if wrong := wrong or _unread(data, notes) or _contradicted(data, structure.volume):
        yield ValueError(f"pymatgen reads this CIF as another crystal than it describes: {wrong}")
        return
    yield structure
    yield from (Remark(note) for note in notes if HARMLESS not in note)


def _unread(data: Mapping[str, Any], notes: list[str]) -> str | None:
    """What pymatgen took by default because it could not read it, although it decides which crystal this is."""
    occupancies = data.get("_atom_site_occupancy") or []
    labels = data.get("_atom_site_label") or data.get("_atom_site_type_symbol") or []
    for label, text in zip(labels, occupancies, strict=False):
        if number_in(text) is None:
            return f"the occupancy {text!r} of {label} is no number"
    if any("Defaulting to P1" in note for note in notes):
        named = [str(value) for key, value in data.items() if SPACE_GROUP.match(key)]
        if named := [name for name in named if name.replace(" ", "") not in NO_SPACE_GROUP]:
            return f"the space group {named[0]!r} is unknown, and no symmetry operations are given"
    return None


def _contradicted(data: Mapping[str, Any], volume: float) -> str | None:
    """What the file says of its cell and symmetry that is no such thing, or not that of the crystal."""
    from pymatgen.core.operations import SymmOp

    numerals = [text for key in data if re.match("_cell_|_atom_site_fract_", key) for text in _texts(data[key])]
    check_numerals(numerals)
    if far := [text for text in numerals if abs(number_in(text) or 0) > FARTHEST]:
        return f"{far[0]} is too large for a length, an angle or a coordinate"
    for operation in (text for key in OPERATIONS if key in data for text in _texts(data[key])):
        plain = operation.replace(" ", "").lower()
        if not OPERATION.fullmatch(plain) or abs(np.linalg.det(SymmOp.from_xyz_str(plain).rotation_matrix)) != 1:
            return f"{operation!r} is no symmetry operation"
    for axis in ("alpha", "beta", "gamma"):
        angle = number_in(data.get(f"_cell_angle_{axis}"))
        if angle is not None and not 0 < angle < 180:
            return f"{axis} is {angle:g} degrees, outside 0 to 180"
    declared = number_in(data.get("_cell_volume"))
    if declared and abs(declared - volume) > VOLUME_TOLERANCE * declared:
        return f"its volume is given as {declared:g} A^3, but its lengths and angles make {volume:.6g} A^3"
    return None


def _texts(entry: Any) -> list[str]:
    return [str(text) for text in entry] if isinstance(entry, list) else [str(entry)]
