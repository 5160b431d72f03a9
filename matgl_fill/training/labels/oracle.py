"""Oracles: energies, forces and stresses of crystals from an ASE calculator or a MatGL potential."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from ase import units
from ase.calculators.calculator import BaseCalculator
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from torch import Tensor

from matgl_fill.adapters import Adapter, Predictions, get_adapter, load_model, predict
from matgl_fill.embedding import usable_crystals
from matgl_fill.errors import MatglFillWarning, ModelError, OracleError
from matgl_fill.structures.elements import element_shares
from matgl_fill.utils.console import track

SHIFT_RIDGE = 1e-3
Source: TypeAlias = BaseCalculator | Adapter
"""Model that labels crystals."""


class Oracle(NamedTuple):
    """Model that labels crystals, with its name.

    Attributes:
        name: Name in messages and in the report.
        source: ASE calculator, or adapter of a MatGL potential.
    """

    name: str
    source: Source


MAX_FORCE = 30.0
"""Largest force (eV/Angstrom) of a crystal that is kept; beyond it no oracle is reliable."""


@dataclass(frozen=True)
class Labels(Predictions):
    """Energies, forces and stresses of n crystals, as :class:`matgl_fill.adapters.Predictions`, to learn from."""

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Energy (B,), forces (N, 3) and stress (B, 3, 3) of some crystals, as float32 tensors."""
        index = rows.tolist()
        forces = np.concatenate([self.forces[i] for i in index])
        arrays = (self.energy[index], forces, self.stress[index])
        return tuple(torch.tensor(a, dtype=torch.float32) for a in arrays)  # type: ignore[return-value]

    def usable(self) -> np.ndarray:
        """Mask (n,) of finite labels with reasonable forces."""
        return np.array(
            [
                bool(np.isfinite(e) and np.isfinite(f).all() and np.isfinite(s).all() and np.abs(f).max() < MAX_FORCE)
                for e, f, s in zip(self.energy, self.forces, self.stress, strict=True)
            ]
        )

    def subset(self, index: Sequence[int] | np.ndarray) -> Labels:
        """Labels of some crystals."""
        chosen = np.asarray(index, dtype=int)
        return Labels(self.energy[chosen], [self.forces[i] for i in chosen], self.stress[chosen])


@dataclass(frozen=True)
class LabelledSet:
    """The n crystals of a set with their labels.

    Attributes:
        structures: The crystals.
        labels: Labels of the crystals.
    """

    structures: list[Structure]
    labels: Labels

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def energy_per_atom(self) -> np.ndarray:
        """Energies per atom, (n,), eV/atom."""
        return self.labels.energy / np.array([len(s) for s in self.structures])

    def subset(self, index: Sequence[int] | np.ndarray) -> LabelledSet:
        """Some of the crystals with their labels."""
        return LabelledSet([self.structures[i] for i in index], self.labels.subset(index))

    def shifted(self, shifts: Mapping[str, float]) -> LabelledSet:
        """The same crystals, from whose energies elemental ones, eV/atom by symbol, are subtracted."""
        off = np.array([sum(shifts[e.symbol] for e in s.species) for s in self.structures])
        return LabelledSet(self.structures, replace(self.labels, energy=self.labels.energy - off))


PACKAGED = {"sevennet": "sevenn", "chgnet": "chgnet"}
"""Oracles by name, and the packages that they need."""


def resolve(oracle: Any) -> Oracle:
    """Make an oracle from anything that stands for one.

    Args:
        oracle: ASE calculator, MatGL ``Potential``, directory of one, ``"sevennet"``, ``"chgnet"``, or
            ``"module:factory"``, a function without arguments that gives a calculator.

    Raises:
        OracleError: The package is missing, or ``oracle`` does not give energies.
    """
    if isinstance(oracle, BaseCalculator):
        return Oracle(type(oracle).__name__, oracle)
    if isinstance(oracle, str) and oracle in PACKAGED:
        return Oracle(oracle, _packaged(oracle))
    if isinstance(oracle, str) and ":" in oracle and not Path(oracle).exists():
        return Oracle(oracle, _made(oracle))
    if isinstance(oracle, str | Path):
        try:
            return Oracle(Path(oracle).name, resolve(load_model(oracle)).source)
        except ModelError as error:
            raise OracleError(
                f"oracle '{oracle}' is neither the name of a calculator nor a MatGL potential: {error}"
            ) from error
    if isinstance(oracle, Potential):
        return Oracle(type(oracle.model).__name__, get_adapter(oracle))
    raise OracleError(
        f"oracle is a {type(oracle).__name__}; give an ASE calculator, a MatGL Potential, its directory, "
        "'sevennet' or 'chgnet'."
    )


def _made(name: str) -> BaseCalculator:
    """The calculator of a ``module:factory``."""
    module, _, factory = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise OracleError(f"oracle '{name}' cannot be made: {error}.") from error
    if not isinstance(made, BaseCalculator):
        raise OracleError(
            f"oracle '{name}' gave a {type(made).__name__}, not an ASE calculator; give a function that returns one."
        )
    return made


def _packaged(name: str) -> BaseCalculator:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name == "sevennet":
                from sevenn.calculator import SevenNetCalculator

                return SevenNetCalculator("7net-l3i5", device="cpu")
            from chgnet.model.dynamics import CHGNetCalculator

            return CHGNetCalculator(use_device="cpu", verbose=False)
    except ImportError as err:
        raise OracleError(f"oracle '{name}' is not installed; pip install 'matgl_fill[{name}]'.") from err


def stress_unit(calculator: Any) -> float:
    """Unit of a calculator's stress, in eV/Angstrom^3; MatGL's calculators use GPa unless set otherwise."""
    return units.GPa / calculator.conversion_factor if isinstance(calculator, PESCalculator) else 1.0


def label(structures: Sequence[Structure], oracle: Source) -> Labels:
    """Label crystals; those on which the oracle fails get NaN, which :meth:`Labels.usable` reports.

    MatGL's calculators give stresses in GPa unless set otherwise; they are converted.

    Args:
        structures: Crystals to label.
        oracle: ASE calculator, or adapter of a MatGL potential.
    """
    if isinstance(oracle, Adapter):
        return _label_with_potential(structures, oracle)
    energy, forces, stress = [], [], []
    for structure in track(structures, "labelling with the oracle"):
        try:
            e, f, s = calculated(structure, oracle)
        except Exception as err:
            warnings.warn(f"the oracle failed on {structure.formula}: {err}", MatglFillWarning, stacklevel=2)
            e, f, s = np.nan, np.full((len(structure), 3), np.nan), np.full((3, 3), np.nan)
        energy.append(e)
        forces.append(f)
        stress.append(s)
    return Labels(np.array(energy), forces, np.array(stress).reshape(-1, 3, 3))


def calculated(structure: Structure, calculator: BaseCalculator) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy in eV, forces (atoms, 3) in eV/Angstrom and stress (3, 3) in eV/Angstrom^3 of a crystal.

    Whatever the calculator raises is raised.
    """
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.calc = calculator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    return float(energy), np.asarray(forces), stress_unit(calculator) * np.asarray(stress)


def _label_with_potential(structures: Sequence[Structure], adapter: Adapter) -> Labels:
    n = len(structures)
    labels = Labels(np.full(n, np.nan), [np.full((len(s), 3), np.nan) for s in structures], np.full((n, 3, 3), np.nan))
    usable = usable_crystals(adapter, (s.formula for s in structures), structures)
    for one in usable.skipped:
        warnings.warn(f"the oracle failed on {one.where}: {one.reason}", MatglFillWarning, stacklevel=4)
    found = predict(adapter, adapter.graphs([structures[i] for i in usable.rows]), "labelling with the oracle")
    labels.energy[usable.rows], labels.stress[usable.rows] = found.energy, found.stress
    for i, forces in zip(usable.rows, found.forces, strict=True):
        labels.forces[i] = forces
    return labels


def elemental_shifts(
    structures: Sequence[Structure], difference: np.ndarray, elements: tuple[str, ...]
) -> tuple[dict[str, float], float]:
    """Least-squares elemental energies that explain the difference between two levels of theory.

    Args:
        structures: The n crystals.
        difference: Energies of the oracle minus those of the model, (n,), eV per cell.
        elements: Elements that may occur.

    Returns:
        Shift per element in eV/atom, and the root mean square of what the shifts leave unexplained, eV/atom.
    """
    A, b = element_shares(structures, elements), difference / np.array([len(s) for s in structures])
    x = np.linalg.solve(A.T @ A + SHIFT_RIDGE * np.eye(len(elements)), A.T @ b)
    rest = float(np.sqrt(np.mean((A @ x - b) ** 2)))
    return dict(zip(elements, x.tolist(), strict=True)), rest
