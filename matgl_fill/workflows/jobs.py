"""What a job does, and how jobs of the same crystal and the same engine are told from others."""

from __future__ import annotations

import importlib
import json
import re
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from ase import units
from ase.calculators.calculator import BaseCalculator
from matgl.ext.ase import PESCalculator
from monty.json import jsanitize
from pymatgen.core import Structure
from torch import nn

from matgl_fill.adapters import Adapter
from matgl_fill.errors import InputError, OracleError
from matgl_fill.training.labels import calculated, resolve
from matgl_fill.training.labels.oracle import PACKAGED
from matgl_fill.utils.hashing import hash_model, hash_parts, hash_state, hash_structure
from matgl_fill.utils.modes import default_dtype_kept, single_precision

if TYPE_CHECKING:
    from jobflow import Flow, Job

Document: TypeAlias = dict[str, Any]
"""Result of a job: ``structure``, ``energy`` (eV), ``forces`` (eV/Angstrom) and ``stress`` (eV/Angstrom^3) as lists."""

NAMESPACE = uuid.UUID("6a1f5c0e-52f4-5a55-9d1c-8f0f2b7b2f38")
"""Of the uuids of jobs that label a crystal."""
IN_KILOBAR = ("emmet.core.", "atomate2.ase.", "atomate2.forcefields.")
"""Packages whose documents have the stress in kbar with the sign of VASP, under ``output``: those of VASP and ASE."""
_given: dict[str, BaseCalculator] = {}
"""Calculators that were given as objects, by their identity: jobs hold text alone."""


def jobflow_there(engine: Any) -> None:
    """Refuse to go on without jobflow; the package of the engine is named too if it is missing as well.

    Raises:
        OracleError: It is not installed.
    """
    extras = {"jobflow": "workflows"}
    if isinstance(engine, str) and engine in PACKAGED:
        extras[PACKAGED[engine]] = engine
    missing = [package for package in extras if find_spec(package) is None]
    if "jobflow" in missing:
        wanted = ",".join(extras[package] for package in missing)
        raise OracleError(
            f"labelling by jobs needs {' and '.join(missing)}, not installed here; pip install 'matgl_fill[{wanted}]'."
        )


def engine_of(maker_or_calculator: Any) -> Any:
    """A Maker as it is, and text for anything else that gives labels.

    Raises:
        InputError: An object whose settings cannot be told apart from others.
        OracleError: It gives no energies, or its package is not installed.
    """
    given = maker_or_calculator
    if hasattr(given, "make"):
        return given
    if isinstance(given, str | Path):
        return str(Path(given).resolve()) if Path(given).exists() else str(given)
    calculator = _with_stress(resolve(given).source)
    identity = f"object {_fingerprint(calculator)}"
    _given[identity] = calculator
    return identity


def calculator_of(engine: str) -> BaseCalculator:
    """The calculator that a text of :func:`engine_of` stands for; it is made once in a process.

    Raises:
        OracleError: There is none.
    """
    if engine.startswith("object "):
        if engine not in _given:
            raise OracleError(
                "the calculator of this job exists only in the process that made the job; give label_flow "
                "'module:factory', 'sevennet', 'chgnet' or the directory of a potential, from which a worker makes its "
                "own."
            )
        return _given[engine]
    return _made(engine)


@lru_cache(maxsize=4)
def _made(engine: str) -> BaseCalculator:
    return _with_stress(resolve(engine).source)


def _with_stress(source: BaseCalculator | Adapter) -> BaseCalculator:
    return PESCalculator(source.model, stress_unit="eV/A3") if isinstance(source, Adapter) else source


def identity_of(engine: Any) -> str:
    """Text that is another one whenever the labels of an engine could be others.

    A Maker is known by its settings and a calculator by its class, settings and weights. A ``module:factory`` is known
    by the text of its module, which may be edited between two calls.

    Raises:
        InputError: The settings hold objects that look different in every process.
        OracleError: The module is not there.
    """
    if not isinstance(engine, str):
        if not hasattr(engine, "as_dict"):
            raise InputError(f"{type(engine).__name__} has no as_dict; give a jobflow Maker or a calculator.")
        return _steady(json.dumps(jsanitize(engine.as_dict()), sort_keys=True), engine)
    if engine.startswith("object "):
        return engine
    if ":" in engine and not Path(engine).exists():
        return _code_of(engine)
    return _fingerprint(calculator_of(engine))


@lru_cache(maxsize=4)
def _code_of(engine: str) -> str:
    """Hash of the text of a factory's module, kept since an edit does not change what this process has imported.

    Raises:
        OracleError: There is no such module.
    """
    try:
        file = importlib.import_module(engine.partition(":")[0]).__file__
    except ImportError as error:
        raise OracleError(f"oracle '{engine}' cannot be made: {error}.") from error
    return hash_parts(engine, Path(file).read_bytes() if file else b"")


def _fingerprint(calculator: BaseCalculator) -> str:
    """Hash of a calculator's class, settings and weights; two that could label differently have different ones."""
    settings = dict(getattr(calculator, "parameters", {}))
    _steady(repr(settings), calculator)
    own = sorted((name, value) for name, value in vars(calculator).items() if name not in ("atoms", "results"))
    plain = [(name, value) for name, value in own if _is_plain(value)]
    weights = [(name, hash_model(value)) for name, value in own if isinstance(value, nn.Module)]
    return hash_state([type(calculator).__module__, type(calculator).__qualname__, settings, plain, weights])


def _is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, texts and arrays alone."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | bytes | bool | int | float | complex | np.ndarray | np.generic)


def _steady(text: str, engine: Any) -> str:
    """The text, unless it holds an address of memory.

    Raises:
        InputError: It does.
    """
    if found := re.search(r"<[^<>]* at 0x[0-9a-f]+>", text):
        raise InputError(
            f"{type(engine).__name__} has a setting that differs between processes, {found.group()}; leave it out."
        )
    return text


def uuid_of(structure: Structure, identity: str) -> str:
    """Uuid of the job that labels a crystal, the same in every process."""
    return str(uuid.uuid5(NAMESPACE, hash_structure(structure, identity).hex()))


def job_of(structure: Structure, engine: Any, job_uuid: str, name: str) -> Job | Flow:
    """The job of one crystal; for a Maker its jobs and one that reads what they found."""
    from jobflow import Flow, Job

    if isinstance(engine, str):
        return Job(label_crystal, function_args=(structure, engine), uuid=job_uuid, name=name)
    made = engine.make(structure)
    return Flow([made, Job(read_document, function_args=(made.output,), uuid=job_uuid, name=name)], name=name)


def label_crystal(structure: Structure, engine: str) -> Document:
    """Work of a job: label a crystal with a calculator.

    Raises:
        OracleError: The labels are not finite. Whatever the calculator raises is raised too.
    """
    calculator = calculator_of(engine)
    held: AbstractContextManager[None] = default_dtype_kept()
    if isinstance(calculator, PESCalculator):
        held = single_precision()
    with held:
        energy, forces, stress = calculated(structure, calculator)
    return _document(structure, energy, forces, stress)


def read_document(result: Any) -> Document:
    """Work of the job after a Maker's: energy, forces and stress from what the Maker's jobs found.

    Args:
        result: Document of emmet or atomate2 for VASP, ASE or a force field, whose stress is in kbar; or a dictionary
            of ``structure``, ``energy`` (eV), ``forces`` (eV/Angstrom) and ``stress`` (eV/Angstrom^3, ASE's sign; it
            may be missing).

    Raises:
        OracleError: It is another document, whose units are not known, or a label is missing.
    """
    kind, found, unit = type(result), result, 1.0
    if kind.__module__.startswith(IN_KILOBAR):
        found, unit = dict(result.output), -0.1 * units.GPa
        found["structure"] = found.get("structure") or found.get("mol_or_struct")
    if not isinstance(found, Mapping):
        raise OracleError(
            f"the Maker returns a {kind.__module__}.{kind.__name__}, whose units are not known; give one of atomate2 "
            "for VASP, ASE or a force field, or one whose job returns structure, energy, forces and stress in ASE's "
            "units."
        )
    if missing := [key for key in ("structure", "energy", "forces") if found.get(key) is None]:
        raise OracleError(f"the Maker's result has no {' and no '.join(missing)}.")
    stress = found.get("stress")
    stress = None if stress is None else unit * np.asarray(stress, dtype=float)
    structure = found["structure"]
    structure = Structure.from_dict(structure) if isinstance(structure, Mapping) else structure
    return _document(structure, found["energy"], np.asarray(found["forces"], dtype=float), stress)


def _document(structure: Structure, energy: float, forces: np.ndarray, stress: np.ndarray | None) -> Document:
    if forces.shape != (len(structure), 3):
        raise OracleError(f"the forces on {len(structure)} atoms have shape {forces.shape}; (atoms, 3) is needed.")
    if not all(np.isfinite(x).all() for x in (energy, forces, 0.0 if stress is None else stress)):
        raise OracleError("energy, forces or stress are not finite numbers.")
    lists = {"forces": forces.tolist(), "stress": None if stress is None else stress.tolist()}
    return {"structure": structure, "energy": float(energy)} | lists
