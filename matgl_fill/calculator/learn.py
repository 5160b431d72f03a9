"""Fill-tuning of a potential by frames that a simulation met."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.calculator.reference import LatentReference
from matgl_fill.config import FillConfig
from matgl_fill.errors import InputError, MatglFillWarning, OracleError
from matgl_fill.generation import Proposal
from matgl_fill.pipeline import fill_tune
from matgl_fill.report.result import FillResult
from matgl_fill.structures import Skipped, StructureSet, read_each, volume_ratio
from matgl_fill.training import label, resolve
from matgl_fill.training.correction.solve import can_correct
from matgl_fill.training.run_state import oracle_fingerprint
from matgl_fill.utils.hashing import hash_structure

BATCH_ATOMS = 200
"""Number of atoms of the frames in a training step, unless the config gives the number of frames."""
Settings = FillConfig | dict[str, Any] | str | Path | None
OracleResults = dict[bytes, dict[str, Any]]
"""Energy, forces and stress by crystal and oracle; crystals on which the oracle failed are asked again."""


@dataclass(frozen=True)
class FrameSet:
    """Frames of simulations by which a potential is to be fill-tuned.

    Attributes:
        adapter: Adapter of the potential.
        reference: Reference of the potential's latent space.
        pool: Pool of known crystals.
        frames: Frames to learn from.
        results: Results that oracles have calculated already; new ones are added.
    """

    adapter: Adapter
    reference: LatentReference
    pool: StructureSet
    frames: Sequence[Atoms]
    results: OracleResults

    def fill(self, oracle: Any, seed: int, config: Settings, out: str | Path | None) -> FillResult:
        """Call :func:`matgl_fill.fill_tune` on the frames; arguments and errors are the same."""
        settings = FillConfig.make(config)
        if not settings.says("batch_size"):
            atoms = sum(len(frame) for frame in self.frames) / len(self.frames)
            settings = settings.changed(batch_size=max(1, round(BATCH_ATOMS / atoms)))
        given: dict[str, Any] = {"seed": seed, "config": settings, "out": out, "n": len(self.frames)}
        if oracle is None:
            return fill_tune(self.adapter.model, self.pool, proposals=self.proposals(), **given)
        if not settings.says("form") and can_correct(self.adapter):
            given["config"] = settings.changed(form="correct")
        return fill_tune(self.adapter.model, self.pool, labelled=self.labelled(oracle), **given)

    def proposals(self) -> list[Proposal]:
        """The frames as proposals whose targets are their own latent points."""
        crystals = [crystal for _, crystal in self.crystals()]
        Z = self.adapter.embed_graphs(self.adapter.graphs(crystals))[0]
        rows = zip(crystals, Z, self.reference.crystals.distance(Z), self.reference.roughness.local(Z), strict=True)
        return [
            Proposal(f"frame-{k + 1:04d}", crystal, "", "simulated", z, k, float(novelty), float(local))
            for k, (crystal, z, novelty, local) in enumerate(rows)
        ]

    def labelled(self, oracle: Any) -> list[Atoms]:
        """The frames with the oracle's energies, forces and stresses.

        Raises:
            OracleError: The oracle is missing, or it fails on more than half of the frames.
        """
        name, source = resolve(oracle)
        crystals, asked = self.crystals(), oracle_fingerprint(source)
        keys = [hash_structure(crystal, asked) for _, crystal in crystals]
        new = [i for i, key in enumerate(keys) if key not in self.results]
        labels = label([crystals[i][1] for i in new], source)
        for k, (i, good) in enumerate(zip(new, labels.usable(), strict=True)):
            if good:
                found = {"energy": labels.energy[k], "forces": labels.forces[k], "stress": labels.stress[k]}
                self.results[keys[i]] = found
        out = []
        for (k, crystal), key in zip(crystals, keys, strict=True):
            if key in self.results:
                atoms = self.frames[k].copy()
                stress = self.results[key]["stress"] * volume_ratio(atoms, crystal.lattice.matrix)
                atoms.calc = SinglePointCalculator(atoms, **self.results[key] | {"stress": stress})
                atoms.info = {"id": f"frame-{k + 1:04d}"}
                out.append(atoms)
        if len(out) < len(crystals) / 2:
            raise OracleError(
                f"the oracle {name} gave usable labels for {len(out)} of {len(crystals)} frames; try it on one of "
                "them, or give frames that it can calculate."
            )
        return out

    def crystals(self) -> list[tuple[int, Structure]]:
        """Number and crystal of each frame that is a crystal; a warning names the other frames.

        Raises:
            InputError: No frame is a crystal.
        """
        found = read_each(self.frames)
        lost = [f"frame {k + 1}: {one.reason}" for k, one in enumerate(found) if isinstance(one, Skipped)]
        if len(lost) == len(found):
            raise InputError(f"none of the {len(found)} frames can be used; {lost[0]}.")
        if lost:
            message = f"{len(lost)} of {len(found)} frames left out; {lost[0]}."
            warnings.warn(message, MatglFillWarning, stacklevel=4)
        return [(k, one) for k, one in enumerate(found) if not isinstance(one, Skipped)]
