"""Crystals to labels: a job for each, left out where its result is there, and all results in one file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from matgl_fill.errors import MatglFillWarning, OracleError
from matgl_fill.structures import Skipped, StructureSet, read_structures
from matgl_fill.structures.sets import reason_of
from matgl_fill.structures.write import info_value
from matgl_fill.utils.console import track
from matgl_fill.utils.files import atomic_write
from matgl_fill.workflows.jobs import Document, engine_of, identity_of, job_of, jobflow_there, uuid_of

if TYPE_CHECKING:
    from jobflow import Flow, JobStore

NO_RESULT = "the store has no result for this crystal: its job has not run, or failed"


@dataclass(frozen=True)
class LabelledFrames:
    """Crystals with the labels that jobs found.

    Attributes:
        frames: A frame for each labelled crystal, with its ``id``, and energy (eV), forces (eV/Angstrom) and stress
            (eV/Angstrom^3, positive in tension) in its calculator.
        skipped: Crystals without labels, and why.
    """

    frames: list[Atoms]
    skipped: list[Skipped]

    def write(self, path: str | Path) -> None:
        """Write the labelled crystals as the extended XYZ that ``labelled=`` and ``--labelled`` read, atomically.

        Raises:
            OracleError: None of the crystals has labels.
            OSError: The file cannot be written.
        """
        if not self.frames:
            first = self.skipped[0]
            raise OracleError(f"no crystal was labelled; first: {first.where}: {first.reason}.")
        text = io.StringIO()
        ase.io.write(text, self.frames, format="extxyz")
        atomic_write(Path(path), text.getvalue())


def label_flow(frames: Any, maker_or_calculator: Any, store: JobStore | None = None) -> Flow:
    """Make a jobflow ``Flow`` with one job for each crystal, to be run here or on a cluster.

    The uuid of a job comes from the crystal, from the calculator's class, settings and weights (of a ``module:factory``
    from the text of its module), or from the Maker's settings. The same call makes the same uuids in every process, so
    that what was done is not done again. Crystals that are alike to the bit share a job.

    Args:
        frames: Crystals, as :func:`matgl_fill.read_structures` takes them: the ``proposals.extxyz`` of ``propose``.
        maker_or_calculator: An ASE calculator, or what stands for one: ``"module:factory"``, ``"sevennet"``,
            ``"chgnet"``, a MatGL potential or its directory; or a Maker such as atomate2's, with ``make(structure)``.
            Jobs for a cluster travel as text, so that a calculator or potential itself serves in this process only.
        store: Results of earlier jobs, a ``JobStore``; crystals whose result is there are left out. The flow has no
            jobs if all are there.

    Raises:
        InputError: No crystal is usable, or a setting is another one in every process.
        OracleError: jobflow or the oracle is not installed, or gives no energies.
    """
    jobflow_there(maker_or_calculator)
    from jobflow import Flow

    crystals, engine, uuids = _prepared(frames, maker_or_calculator)
    _warn(crystals.skipped)
    done = _results(uuids, store) if store is not None else {}
    jobs = {
        uuid: job_of(structure, engine, uuid, name)
        for structure, name, uuid in zip(crystals.structures, crystals.ids, uuids, strict=True)
        if uuid not in done
    }
    return Flow(list(jobs.values()), name="label crystals")


def gather(frames: Any, maker_or_calculator: Any, store: JobStore) -> LabelledFrames:
    """Gather what the jobs of :func:`label_flow` found; a warning names each crystal without a result.

    Args:
        frames: The crystals that were given to ``label_flow``.
        maker_or_calculator: The engine that was given to it.
        store: Results of the jobs.

    Raises:
        InputError: No crystal is usable, or a setting is another one in every process.
        OracleError: jobflow or the oracle is not installed, or gives no energies.
    """
    jobflow_there(maker_or_calculator)
    crystals, _, uuids = _prepared(frames, maker_or_calculator)
    found = _gathered(crystals, uuids, _results(uuids, store), {})
    _warn(found.skipped)
    return found


def label_locally(frames: Any, maker_or_calculator: Any, folder: str | Path) -> LabelledFrames:
    """Label crystals on this machine, one after the other, and go on where an earlier call was stopped.

    Results are kept in ``folder/jobs.json`` after each crystal. A crystal on which the engine fails is told by a
    warning and skipped; the next call tries it again.

    Args:
        frames: Crystals, as :func:`matgl_fill.read_structures` takes them.
        maker_or_calculator: Engine, as :func:`label_flow` takes it.
        folder: Folder of the results, and of files that the engine writes; made if missing.

    Raises:
        InputError: No crystal is usable, a setting is another one in every process, or the results are damaged.
        OracleError: jobflow or the oracle is not installed, or gives no energies.
        OSError: The folder cannot be written to.
    """
    jobflow_there(maker_or_calculator)
    from jobflow import run_locally

    from matgl_fill.workflows.store import open_store

    crystals, engine, uuids = _prepared(frames, maker_or_calculator)
    _warn(crystals.skipped)
    store = open_store(Path(folder) / "jobs.json")
    done, reasons = _results(uuids, store), dict[str, str]()
    with_files = {"root_dir": Path(folder).absolute(), "create_folders": not isinstance(engine, str)}
    rows = list(zip(crystals.structures, crystals.ids, uuids, strict=True))
    for structure, name, uuid in track(rows, "labelling"):
        if uuid in done or uuid in reasons:
            continue
        try:
            job = job_of(structure, engine, uuid, name)
            with warnings.catch_warnings(action="ignore"):  # of the packages that run jobs
                run_locally(job, store=store, log=False, raise_immediately=True, **with_files)
        except Exception as error:  # whatever an engine raises: one crystal must not end the others
            reasons[uuid] = reason_of(error)
            _warn([Skipped(name, reasons[uuid])])
    return _gathered(crystals, uuids, _results(uuids, store), reasons)


def _prepared(frames: Any, maker_or_calculator: Any) -> tuple[StructureSet, Any, list[str]]:
    """The n usable crystals, the engine as jobs hold it, and the n uuids."""
    engine = engine_of(maker_or_calculator)
    identity = identity_of(engine)
    crystals = read_structures(frames)
    return crystals, engine, [uuid_of(s, identity) for s in crystals.structures]


def _results(uuids: list[str], store: JobStore) -> dict[str, Document]:
    """Results that a store has, by uuid."""
    store.connect()
    found = store.query({"uuid": {"$in": uuids}}, properties=["output"], sort={"index": 1}, load=True)
    return {one["uuid"]: one["output"] for one in found}


def _gathered(
    crystals: StructureSet, uuids: list[str], results: Mapping[str, Document], reasons: Mapping[str, str]
) -> LabelledFrames:
    frames, skipped = [], list(crystals.skipped)
    for name, uuid in zip(crystals.ids, uuids, strict=True):
        if uuid in results:
            frames.append(_frame(name, results[uuid]))
        else:
            skipped.append(Skipped(name, reasons.get(uuid, NO_RESULT)))
    return LabelledFrames(frames, skipped)


def _frame(name: str, result: Document) -> Atoms:
    """The crystal of a result with its labels."""
    atoms = AseAtomsAdaptor.get_atoms(Structure.from_dict(result["structure"]), msonable=False)
    atoms.info = {"id": info_value(name)}
    labels = {key: result[key] for key in ("energy", "forces", "stress") if result[key] is not None}
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def _warn(skipped: list[Skipped]) -> None:
    for one in skipped:
        warnings.warn(f"{one.where} is not labelled: {one.reason}", MatglFillWarning, stacklevel=3)
