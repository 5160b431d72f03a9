"""MatGL's potential calculator, extended by roughness and novelty of a structure and by learning from frames."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, all_properties
from ase.outputs import Properties
from ase.stress import full_3x3_to_voigt_6_stress
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator

from matgl_fill.adapters import Adapter, Batch, backend, get_adapter
from matgl_fill.adapters.wrappers import forwarding, on_device
from matgl_fill.calculator.learn import FrameSet, OracleResults
from matgl_fill.calculator.reference import LatentReference, embed_atoms
from matgl_fill.calculator.watch import Watcher
from matgl_fill.config import FillConfig
from matgl_fill.embedding import prepare_pool
from matgl_fill.errors import CalculationError, InputError
from matgl_fill.report.result import FillResult
from matgl_fill.roughness import RoughnessResult, graph_roughness
from matgl_fill.structures import StructureSet, bundled_pool, fully_periodic, read_frames, read_structures, volume_ratio
from matgl_fill.utils.modes import default_dtype_kept, single_precision, usual_autograd

LATENT = ("roughness", "novelty", "roughness_per_atom", "novelty_per_atom")
"""Names of the properties beyond MatGL's own."""


class FillCalculator(PESCalculator):
    """ASE calculator of a MatGL potential, with roughness and novelty beside energy, forces and stress.

    It is MatGL's ``PESCalculator``: the same arguments, units and results, to the bit. Beside them it gives, from
    the same forward pass, ``roughness`` and ``novelty`` of the structure and ``roughness_per_atom`` and
    ``novelty_per_atom`` (N,), all dimensionless and explained in :class:`~matgl_fill.calculator.LatentReference`.

    Atoms have the geometry that :func:`matgl_fill.embed` gives them. Fully periodic crystals are MatGL's as they are;
    a slab (periodic along two axes) and a molecule get vacuum along their open axes where the cell leaves less than
    15 Angstrom, and an atom far beside the cell is wrapped. Forces keep the order and the orientation of the atoms.
    The stress is the strain derivative of the energy over the volume of the atoms' own cell; where that has no
    volume there is none, and ASE says that the stress is not implemented.

    ``results`` holds properties that ASE knows, so that its files and other calculators take them. The others are
    asked for by ``get_property("novelty", atoms)``; every calculation also writes the structure's into ``atoms.info``
    and the atoms' into ``atoms.arrays``, which go with copies of the atoms and into files.

    Calculators on one potential can work in several threads, and a call of one calculator waits for another's.

    Units are MatGL's: energy in eV, forces in eV/Angstrom, stress positive in tension, in GPa unless
    ``stress_unit="eV/A3"``, which is what ASE's filters, barostats and phonons expect.

    Args:
        potential: MatGL ``Potential``; it is used as it is and never changed.
        roughness: Roughness of the pool's embedding, from :func:`matgl_fill.analyze_roughness`; it is analysed at the
            first call if not given.
        pool: Known crystals by which roughness and novelty are measured, and which are held when the calculator
            learns: anything :func:`matgl_fill.read_structures` takes; the package's own pool if not given. Give the
            pool that the roughness was analysed on.
        device: Device to compute on, for example ``"cuda"``, by a copy of the potential; its own if not given.
        settings: Settings of ``PESCalculator``: ``stress_unit``, ``use_voigt``, ``state_attr``, ``total_charge``, ...

    Raises:
        InputError: The model is no potential, the pool holds too few usable crystals, or the roughness belongs to an
            embedding of another width.
        ModelError: No adapter serves the architecture.

    Example:
        >>> import matgl_fill as mf
        >>> from ase.build import bulk
        >>> atoms = bulk("NaCl", "rocksalt", a=5.69)
        >>> atoms.calc = mf.FillCalculator(mf.load_model("potential"), stress_unit="eV/A3")
        >>> energy = atoms.get_potential_energy()
        >>> novelty = atoms.calc.get_property("novelty", atoms)
        >>> sorted(atoms.info), sorted(atoms.calc.results)
        (['novelty', 'roughness'], ['energy', 'forces', 'free_energy', 'stress'])
    """

    implemented_properties: list[str]

    def __init__(
        self,
        potential: Potential,
        roughness: RoughnessResult | None = None,
        pool: Any = None,
        device: str | torch.device | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(potential, Potential):
            raise InputError(f"{type(potential).__name__} predicts no energies and forces; give a MatGL Potential.")
        potential = on_device(potential, device)
        super().__init__(potential, **settings)
        self.implemented_properties = [*self.implemented_properties, *LATENT]
        self.lock = threading.RLock()
        """Held while the calculator works, so that results are those of the atoms that were given."""
        self.original = potential
        self.learnt: list[Atoms] = []
        """Frames by which the present model was fill-tuned."""
        self.watchers: list[Watcher] = []
        self.embedding: tuple[np.ndarray, np.ndarray]
        """Structure (d,) and atom (N, d) embedding of the last calculation."""
        self._beyond_ase: dict[str, Any] = {}
        self._given = roughness
        self._source = pool
        self._results: OracleResults = {}
        self._first: LatentReference | None = None
        self._use(potential)

    def _use(self, potential: Potential) -> None:
        """Take a model and forget everything that depended on the last one."""
        with self.lock:
            self.potential = potential
            self._adapter: Adapter = get_adapter(potential)
            self.__dict__.pop("reference", None)
            if potential is self.original and self._first is not None:
                self.__dict__["reference"] = self._first
            self.reset()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "lock"}  # locks cannot be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=threading.RLock())

    @cached_property
    def pool(self) -> StructureSet:
        """The known crystals, as they were read."""
        return read_structures(bundled_pool(self._adapter.element_types) if self._source is None else self._source)

    @cached_property
    def reference(self) -> LatentReference:
        """The reference of roughness and novelty, made at the first call; it includes the frames that were learnt."""
        crystals = [*self.pool.structures, *read_structures(self.learnt).structures] if self.learnt else self.pool
        pool = prepare_pool(self._adapter, crystals)
        given = self._given if self.potential is self.original else None
        roughness = graph_roughness(pool.Z, pool.D) if given is None else given
        return LatentReference(roughness, pool.Z, *embed_atoms(self._adapter, pool.graphs))

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """A property of the atoms, calculated only if it was not yet; also those that ASE does not know.

        A stress has six components, as ASE's databases need it, where that in ``results`` is MatGL's matrix.

        Args:
            name: Name of the property.
            atoms: Atoms; those of the last calculation if not given.
            allow_calculation: Whether to calculate; without it None is returned where the property is not known.

        Raises:
            PropertyNotImplementedError: The calculator or its potential has no such property.
        """
        with self.lock:
            if name in all_properties or name not in self.implemented_properties:
                value = super().get_property(name, atoms, allow_calculation)
                return full_3x3_to_voigt_6_stress(value) if np.shape(value) == (3, 3) and name == "stress" else value
            if super().get_property("energy", atoms, allow_calculation) is None:
                return None
            if name not in self._beyond_ase:
                raise PropertyNotImplementedError(f"{name} is not among what the potential calculates")
            return copy.copy(self._beyond_ase[name])

    def export_properties(self) -> Properties:
        """The results in ASE's own form, in which a stress has six components."""
        return Properties({name: self.get_property(name) for name in self.results})

    def calculate(
        self, atoms: Atoms, properties: list[str] | None = None, system_changes: list[str] | None = None
    ) -> None:
        """Calculate MatGL's results, and roughness and novelty from the features of the same forward pass.

        Raises:
            CalculationError: An element is unknown to the potential, a number is not finite, neighbours cannot be
                searched, or the potential gives no finite energy.
        """
        if reason := self._adapter.unknown_elements(atoms.get_chemical_symbols()):
            raise CalculationError(f"{reason}; use a potential of these elements.")
        try:
            periodic = fully_periodic(atoms)
        except ValueError as error:
            raise CalculationError(
                f"the energy of these atoms cannot be calculated: {error}; correct the atoms."
            ) from error
        edges = self._adapter.expected_edges(len(periodic), periodic.get_volume())
        if reason := self._adapter.oversize_reason(edges, gradients=True):
            raise CalculationError(f"{reason}; use fewer atoms or a machine with more memory.")
        with self.lock, usual_autograd():
            reference = self.reference
            with self._listening() as features, single_precision(self._adapter.core):
                super().calculate(periodic, properties, system_changes)
            if periodic is not atoms:
                self._return_to(atoms, periodic)
            if not (np.isfinite(self.results["energy"]) and np.isfinite(self.results["forces"]).all()):
                self.reset()
                raise CalculationError(
                    "energy or forces of these atoms are NaN or infinite; look for atoms too close to each other, or "
                    "use another potential."
                )
            self.embedding = self._embedding(features, len(atoms))
            measures = reference.measure(*self.embedding)
            foreign = [name for name in self.results if name not in all_properties]
            self._beyond_ase = measures | {name: self.results.pop(name) for name in foreign}
            for name, value in self.results.items():  # ASE's database takes the bytes of any array for float64
                self.results[name] = np.asarray(value, dtype=float) if np.ndim(value) else value
        for name, value in measures.items():
            if name.endswith("_per_atom"):
                atoms.set_array(name, value, float, ())
            else:
                atoms.info[name] = value

    def _return_to(self, atoms: Atoms, periodic: Atoms) -> None:
        """Give the results of the fully periodic atoms to the caller's: the stress is one of their own volume."""
        self.atoms = atoms.copy()
        ratio = volume_ratio(atoms, periodic.cell)
        if "stress" in self.results and np.isnan(ratio):
            del self.results["stress"]
        elif "stress" in self.results:
            self.results["stress"] *= ratio

    @contextmanager
    def _listening(self) -> Iterator[dict[str, Any]]:
        """Features of the core's one call, with the graph it was called on under ``"graph"``.

        The call is made on twins of the potential and its core where there are any, so that the potential, which other
        threads may use, is left alone.
        """
        potential, seen = self.potential, dict[str, Any]()
        with backend.listening(self._adapter.core) as (core, features):
            forward = core.forward

            def recorded(**given: Any) -> Any:
                seen.update(given)
                return forward(**given)

            self.potential = copy.copy(potential)
            self.potential._modules = potential._modules | {"model": core}
            try:
                with forwarding(core, recorded):
                    yield features
            finally:
                self.potential = potential
        features["graph"], features["state"] = seen["g"], seen.get("state_attr")

    def _embedding(self, features: dict[str, Any], n: int) -> tuple[np.ndarray, np.ndarray]:
        """Structure (d,) and atom (n, d) embedding; a tuned branch needs a pass of its own."""
        device = self._adapter.device
        lattice = torch.zeros(1, 3, 3, dtype=torch.float32, device=device)
        node_batch = torch.zeros(n, dtype=torch.long, device=device)
        batch = Batch(features["graph"], lattice, lattice, node_batch, torch.tensor([n], device=device))
        parts = [features]
        with torch.no_grad():
            for branch in self._adapter.cores[1:]:
                parts.append(backend.call(branch, features["graph"], features["state"])[1])
            read = [self._adapter.read_core(i, part, batch) for i, part in enumerate(parts)]
        z, each = (torch.cat([r[k] for r in read], dim=1).detach().cpu().double().numpy() for k in (0, 1))
        return z[0], each

    def watch(self, atoms: Atoms | None = None, **settings: Any) -> Watcher:
        """Make a :class:`Watcher` whose frames :meth:`fill` learns from; attach it to dynamics or an optimiser.

        Args:
            atoms: Atoms that are simulated; they may instead be given at each call of the watcher.
            settings: Further arguments of :class:`Watcher`.
        """
        watcher = Watcher(self, atoms, **settings)
        self.watchers.append(watcher)
        return watcher

    @default_dtype_kept()
    def fill(
        self,
        oracle: Any = None,
        frames: Sequence[Atoms] | Atoms | str | Path | None = None,
        seed: int = 0,
        config: FillConfig | dict[str, Any] | str | Path | None = None,
        out: str | Path | None = None,
    ) -> FillResult:
        """Fill-tune on collected frames and go on with the tuned model, if the guard accepts it.

        With an oracle the potential is corrected in closed form: energies and forces change around the environments
        that the frames showed and, within the guard's budgets, nowhere else; no weight is touched (``form="correct"``,
        on DGL, where there is none, ``"add"``). Without one the embedding alone is refined: the original stays, with
        its energies and forces, and a tuned branch is attached to it.

        Every filling starts from the original with all frames so far, so that drift does not add up; an oracle labels
        each frame once.

        Args:
            oracle: ASE calculator, MatGL ``Potential``, ``"sevennet"``, ..., as in :func:`matgl_fill.fill_tune`.
            frames: Frames to learn from, or a file of them; the frames of all watchers if not given.
            seed: Seed of the training.
            config: Changes to the settings, as in :func:`matgl_fill.fill_tune`.
            out: Folder for model, frames, settings and report.

        Returns:
            The :class:`FillResult`. If it was accepted, the frames count as known from now on, and watchers whose
            frames were learnt start anew.

        Raises:
            InputError: There are no frames.
            OracleError: The oracle is missing or fails.
        """
        if frames is None:
            chosen = [frame for watcher in self.watchers for frame in watcher.frames]
        else:
            chosen = read_frames(frames)
        if not chosen:
            raise InputError(self._without_frames())
        self._first = self._first or self.reference
        everything = [*self.learnt, *chosen]
        frame_set = FrameSet(get_adapter(self.original), self._first, self.pool, everything, self._results)
        result = frame_set.fill(oracle, seed, config, out)
        if result.accepted:
            self.learnt = everything
            self._use(result.model)
            for watcher in self.watchers if frames is None else []:
                watcher.clear()
        return result

    def _without_frames(self) -> str:
        """Why there is nothing to learn from, and what to do."""
        nearest = max((watcher.nearest for watcher in self.watchers), default=0.0)
        if not nearest:
            return "no frames to learn from; attach calc.watch(atoms) to dynamics first, or give frames."
        return (
            f"no frames to learn from: the watched ones reached at most {nearest:.2f} of a threshold; run longer, "
            "lower per_atom, novelty or roughness of calc.watch, or give frames."
        )

    def undo(self) -> Potential:
        """Go back to the potential that was given, which no filling changed, and forget the frames that were learnt."""
        self.learnt = []
        self._use(self.original)
        return self.original
