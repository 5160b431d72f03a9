"""What a fill-tuning run hands back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import nn

from matgl_fill.evaluate import Comparison
from matgl_fill.evaluate.pictures import latent_map, loss_curves, task_bars
from matgl_fill.evaluate.report import write_report
from matgl_fill.files import atomic_write
from matgl_fill.generate import Proposal
from matgl_fill.io import write_cifs, write_structures


@dataclass(frozen=True)
class FillResult:
    """Outcome of :func:`matgl_fill.fill_tune`.

    Attributes:
        model: the tuned model, the same kind as was given; a copy of the original if the guard refused.
        original: the caller's own model object, untouched.
        accepted: the guard's verdict.
        report: everything measured, as written to ``report.json``.
        proposals: the generated crystals.
        comparison: downstream changes, if tasks were given.
        plane: latent map coordinates, ``pool`` (n, 2), ``roughness`` (n,), ``targets`` (m, 2), ``proposals`` (k, 2).
    """

    model: nn.Module
    original: nn.Module
    accepted: bool
    report: dict[str, Any]
    proposals: list[Proposal]
    comparison: Comparison | None
    plane: dict[str, np.ndarray]

    def undo(self) -> nn.Module:
        """The original model, bitwise as it was given."""
        return self.original

    def save(self, directory: str | Path) -> Path:
        """Write model, crystals, settings and report.

        ``model/`` is read by ``matgl.load_model``; ``proposals.extxyz`` and ``cif/`` hold the crystals with their
        provenance; ``config.json`` reproduces the run; ``report.json`` and ``report.html`` say what it did.
        """
        out = Path(directory)
        out.mkdir(parents=True, exist_ok=True)
        self.model.save(out / "model")  # type: ignore[operator]
        crystals = [p.structure for p in self.proposals]
        rows = self.report["proposals"]
        write_structures(crystals, out / "proposals.extxyz", info=rows)
        write_cifs(crystals, out / "cif", [p.id for p in self.proposals])
        run = {"seed": self.report["run"]["seed"], "n": self.report["run"]["n"], "config": self.report["config"]}
        atomic_write(out / "config.json", json.dumps(run, indent=2) + "\n")
        atomic_write(out / "report.json", json.dumps(self.report, indent=2) + "\n")
        write_report(self.report, out, self.pictures())
        return out

    def pictures(self) -> dict[str, str]:
        """SVG pictures of the report by name."""
        pictures = {"latent_map": latent_map(**self.plane)}
        if tasks := self.report["tasks"]:
            columns = [[t[k] for t in tasks] for k in ("name", "change_percent", "low", "high")]
            pictures["task_bars"] = task_bars(*columns)
        if self.report["history"]:
            pictures["loss_curves"] = loss_curves(self.report["history"])
        return pictures

    def __rich__(self) -> Group:
        """Summary for the terminal."""
        run, verdict = self.report["run"], self.report["verdict"]
        objective = " + ".join(run["objective"])
        head = f"{run['architecture']}: {run['n']} crystals, objective {objective}, guard: {verdict['headline']}"
        head += f"; embedding: {run['embedding']}"
        table = Table(title="roughness")
        for name in ("measure", "before", "after"):
            table.add_column(name, justify="left" if name == "measure" else "right")
        for row in self.report["roughness"]:
            table.add_row(row["measure"], f"{row['before']:.4g}", f"{row['after']:.4g}")
        parts: list[Any] = [Text(head, style="bold"), *(Text(r) for r in verdict["reasons"]), table]
        return Group(*parts, *([self.comparison] if self.comparison else []))
