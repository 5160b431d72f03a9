"""The result of a fill-tuning run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from torch import nn

from matgl_fill.config import FillConfig, settings_toml
from matgl_fill.evaluation import Comparison
from matgl_fill.evaluation.potential import change_table
from matgl_fill.generation import Proposal
from matgl_fill.report.html import draw_thumbnails, model_card, notebook_summary, write_report
from matgl_fill.report.model import RunReport
from matgl_fill.report.pictures import draw_pictures
from matgl_fill.report.words import meaning
from matgl_fill.structures import file_names, write_cifs, write_structures
from matgl_fill.utils.counting import counted
from matgl_fill.utils.files import atomic_folder, atomic_write, remove_others
from matgl_fill.utils.machine import package_facts

HEADER = "---\nlibrary_name: matgl\ntags:\n- matgl\n- materials-science\n- graph-neural-network\n---\n\n"
"""Top of a model card, which a hub reads; MatGL writes the same when it pushes."""
TOLD = ("model", "seed", "n", "objective", "oracle", "embedding")
WIDTH = 100


@dataclass(frozen=True, repr=False, eq=False)
class FillResult:
    """Outcome of :func:`matgl_fill.fill_tune`.

    ``print(result)`` shows verdict and figures; a notebook shows them as tables.

    Attributes:
        model: Tuned model, of the same kind as was given; a copy of the original if the guard refused.
        original: The caller's own model object, unchanged.
        report: Everything that was measured; ``report.json`` is its dump.
        proposals: Crystals that the model was trained on.
        comparison: Changes of the errors on downstream tasks, if tasks were given.
    """

    model: nn.Module
    original: nn.Module
    report: RunReport
    proposals: list[Proposal]
    comparison: Comparison | None

    @property
    def accepted(self) -> bool:
        """Whether the guard accepted the tuned model."""
        return self.report.verdict.accepted

    def undo(self) -> nn.Module:
        """The original model, bitwise as it was given."""
        return self.original

    @property
    def card(self) -> str:
        """The model card, which says in Markdown what was done to the model."""
        return model_card(self.report)

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts of the run that ``model.json`` holds."""
        told = self.report.run.model_dump(include=set(TOLD))
        verdict = self.report.verdict.model_dump(include={"accepted", "alpha"})
        return {"matgl_fill": package_facts() | told | verdict}

    def save(self, directory: str | Path) -> Path:
        """Write model, crystals, settings and report.

        ``matgl.load_model`` reads ``model/``, which also holds a model card (``README.md``); ``proposals.extxyz`` and
        ``cif/`` hold the crystals with their provenance; ``config.toml`` holds the settings, as ``config`` takes
        them; ``report.json`` and ``report.html`` say what the run did. CIF files of crystals that an earlier run
        generated there (``fill-*``) are removed.

        Args:
            directory: Folder to write to, which is made if missing.

        Returns:
            Path of the folder.
        """
        out = Path(directory)
        out.mkdir(parents=True, exist_ok=True)
        atomic_folder(out / "model", self._save_model)
        crystals = {p.id: p.structure for p in self.proposals}
        write_structures(
            crystals.values(), out / "proposals.extxyz", info=[dict(row) for row in self.report.proposals or []]
        )
        names = file_names(list(crystals))
        write_cifs(crystals.values(), out / "cif", names)
        remove_others(out.glob("cif/fill-*.cif"), names)
        atomic_write(out / "config.toml", settings_toml(self.report.config or FillConfig()))
        atomic_write(out / "report.json", self.report.to_json())
        write_report(self.report, out, draw_pictures(self.report), draw_thumbnails(crystals))
        return out

    def _save_model(self, folder: Path) -> None:
        """The model as MatGL saves it, with its card."""
        self.model.save(folder, metadata=self.metadata)  # type: ignore[operator]
        (folder / "README.md").write_text(HEADER + self.card, encoding="utf-8")

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model with its card to the Hugging Face Hub, in MatGL's own way.

        Args:
            repo_id: Name of the repository, ``"owner/name"``; it is made if it does not exist.
            options: Options of MatGL's ``push_to_hub``: ``private``, ``token``, ``revision``, ``create_pr``,
                ``commit_message``.

        Returns:
            The address of the commit.

        Raises:
            huggingface_hub.errors.HfHubHTTPError: The hub refuses, for want of a token for example.
        """
        told = {"readme_text": self.card, "metadata": self.metadata}
        return str(self.model.push_to_hub(repo_id, **told, **options))  # type: ignore[operator]

    def __rich__(self) -> Group:
        """Summary for the terminal."""
        run, verdict = self.report.run, self.report.verdict
        head = f"guard: {verdict.headline}. {meaning(self.report)}".rstrip()
        facts = f"{run.architecture}, {counted(run.n, 'crystal')}, objective {' + '.join(run.objective)}"
        facts += f", embedding {run.embedding}"
        table = Table(title="roughness")
        for name in ("measure", "before", "after"):
            table.add_column(name, justify="left" if name == "measure" else "right")
        for row in self.report.roughness or []:
            table.add_row(row.measure, f"{row.before:.4g}", f"{row.after:.4g}")
        parts: list[Any] = [Text(head, style="bold"), Text(facts), *(Text(r) for r in verdict.reasons)]
        if errors := self.report.label_errors:
            slopes = f"softening slope {errors.slope_before:.3f} before, {errors.slope_after:.3f} after"
            parts.append(
                change_table(
                    f"{counted(errors.crystals, 'labelled crystal')}, each by weights that had not seen it; {slopes}",
                    errors.errors,
                )
            )
        if self.report.roughness and not self.report.label_errors:  # labels leave the embedding as it was
            parts.append(table)
        return Group(*parts, *([self.comparison] if self.comparison else []))

    def __str__(self) -> str:
        console = Console(width=WIDTH, color_system=None)
        with console.capture() as text:
            console.print(self)
        return text.get().rstrip()

    def __repr__(self) -> str:
        tasks = "" if self.comparison is None else f", tasks {self.comparison.mean:+.1f} %"
        run, verdict = self.report.run, self.report.verdict
        return f"<FillResult of {run.architecture}, {counted(run.n, 'crystal')}: {verdict.headline}{tasks}>"

    def _repr_html_(self) -> str:
        """Summary for notebooks."""
        return notebook_summary(self.report)
