"""The typed sections of a run's report, which ``report.json`` is a dump of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from matgl_fill.config import FillConfig
from matgl_fill.errors import InputError
from matgl_fill.guard import Check
from matgl_fill.structures import Skipped


class _Section(BaseModel):
    """A section of the report.

    NaN and infinity are written as words, so that the file is JSON; unknown fields of other versions are ignored.
    """

    model_config = ConfigDict(ser_json_inf_nan="strings", extra="ignore", use_attribute_docstrings=True)


class VerdictSection(_Section):
    """Verdict of the guard in words, with mean and worst change of the tasks."""

    accepted: bool
    headline: str
    reasons: list[str] = []
    alpha: float
    """Weight of the tuned model; 0 means the original."""
    mean_change_percent: float | None = None
    worst_task: str | None = None
    worst_change_percent: float | None = None


class RunSection(_Section):
    """Facts of the run: model, crystals, settings, what became of the embedding, and how long each stage took."""

    model: str
    architecture: str
    n_pool: int
    n: int
    seed: int
    objective: list[str]
    oracle: str | None = None
    embedding: str = ""
    correction: str | None = None
    tuned_elements: tuple[str, ...] | None = None
    """Elements among whose atoms alone a potential's tuned weights act."""
    wall_seconds: float = 0.0
    stages: dict[str, float] = {}
    """Seconds that each stage took."""
    versions: dict[str, str]
    machine: str


class GivenObject(_Section):
    """An argument that was given as an object, neither number nor text nor path."""

    type: str


Argument = str | int | GivenObject | None


class CallSection(_Section):
    """Arguments of the call."""

    model: Argument = None
    structures: Argument = None
    proposals: Argument = None
    labelled: Argument = None
    n: int
    objective: str = "auto"
    oracle: Argument = None
    seed: int

    @classmethod
    def of(cls, n: int, seed: int, objective: str, **given: Any) -> CallSection:
        """Make the section from arguments of any kind."""
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
        told = {
            k: v if isinstance(v, str | int | None) else GivenObject(type=type(v).__name__) for k, v in plain.items()
        }
        return cls(n=n, seed=seed, objective=objective, **told)


class TaskRow(_Section):
    """Change of the probes' error on one downstream task; positive is better."""

    name: str
    unit: str
    n: int
    mae_before: float
    mae_after: float
    change_percent: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    probes: dict[str, float]
    one_value: float | None = None
    """Mean absolute error of one value for all crystals, the median; version 0.1.0 did not write it."""


class RoughnessRow(_Section):
    """One measure of the pool's landscape."""

    measure: str
    before: float
    after: float


class ProposalRow(_Section):
    """One generated crystal, or a configuration with its kind and amplitudes."""

    id: str
    formula: str
    parent: str
    moves: str
    distance: float
    roughness: float
    kind: str | None = None
    displacement: float | None = None
    """Root mean square displacement of the atoms, Angstrom."""
    strain: float | None = None
    """Largest principal strain, without sign."""


class AlignmentSection(_Section):
    """How the oracle's level of theory was aligned, see :class:`matgl_fill.training.Alignment`."""

    unexplained_eV_per_atom: float  # noqa: N815, the unit is part of the name in the file
    shifts_eV_per_atom: dict[str, float]  # noqa: N815
    crystals: int


class CorrectionSection(_Section):
    """How a correction was chosen, see :class:`matgl_fill.training.correction.solve.CorrectionFacts`."""

    width: float | None = None
    ridge: float | None = None
    scale: float | None = None
    crystals: int
    reference_crystals: Annotated[int, Field(validation_alias=AliasChoices("reference_crystals", "known_crystals"))]
    """Version 0.1.0 wrote ``known_crystals``."""
    environments: int | None = None
    force_error_left_out_before: float
    force_error_left_out_after: float


class ErrorRow(_Section):
    """Change of a potential's mean absolute error; negative is better."""

    measure: str
    unit: str
    n: int
    """Number of crystals."""
    before: float
    after: float
    change_percent: float
    """100 (after / before - 1)."""
    low: float
    """Lower end of the 95 % interval."""
    high: float


class ParityPoints(_Section):
    """True values of some labels, and what the potential predicts before and after."""

    true: list[float]
    before: list[float]
    after: list[float]


class LabelErrorsSection(_Section):
    """Errors of a potential on labelled crystals that it was not trained on."""

    crystals: int
    errors: list[ErrorRow]
    slope_before: float
    """Slope of predicted against true forces; below 1 the potential is too soft."""
    slope_after: float
    energy: ParityPoints
    """Energies of some crystals, eV/atom."""
    forces: ParityPoints
    """Components of some forces, eV/Angstrom."""


class PhysicsSection(_Section):
    """Errors of relaxed volumes, elastic moduli and heat capacities against a reference."""

    errors: list[ErrorRow]
    failed_before: int
    """Number of calculations that failed before, and not after."""
    failed_after: int
    """Number of calculations that failed after, and not before."""
    failed_both: int


class LatentMap(_Section):
    """Pool crystals and generated crystals in a plane of the latent space."""

    pool: list[tuple[float, float]]
    roughness: list[float]
    targets: list[tuple[float, float]]
    proposals: list[tuple[float, float]]
    axes: tuple[str, str]


class Maps(_Section):
    """Latent maps before and, if the model was accepted, after."""

    before: LatentMap | None = None
    after: LatentMap | None = None


class RunReport(_Section):
    """Everything that a run measured; a section that a run does not have is None.

    Attributes:
        format_version: Version of the file format.
        title: Title of the page.
        run: Facts of the run.
        call: Arguments of the call.
        config: Every setting.
        verdict: Verdict of the guard, in words.
        tasks: Errors on downstream tasks before and after.
        label_errors: Errors of potentials on labels, before and after, by weights that had not seen them.
        physics: Errors of properties of crystals before and after, of potentials.
        guard: Every measure of the guard with its budget.
        alignment: Alignment of an oracle's level of theory.
        correction: Correction of a potential's energies.
        history: Weighted loss of every term over the training, None where it was not finite.
        proposals: Crystals that were trained on.
        roughness: Roughness of the pool's landscape before and after.
        maps: Maps of the latent space.
        skipped: Crystals that were left out, and why.
    """

    format_version: Literal[1] = 1
    title: str = "Fill-tuning report"
    run: RunSection
    verdict: VerdictSection
    call: CallSection | None = None
    config: FillConfig | None = None
    tasks: list[TaskRow] | None = None
    label_errors: LabelErrorsSection | None = None
    physics: PhysicsSection | None = None
    guard: list[Check] | None = None
    alignment: AlignmentSection | None = None
    correction: CorrectionSection | None = None
    history: dict[str, list[float | None]] | None = None
    proposals: list[ProposalRow] | None = None
    roughness: list[RoughnessRow] | None = None
    maps: Maps | None = None
    skipped: list[Skipped] | None = None

    def timed(self, stages: dict[str, float]) -> RunReport:
        """The report with the seconds that every stage of the run took."""
        times = {"stages": stages, "wall_seconds": round(sum(stages.values()), 1)}
        return self.model_copy(update={"run": self.run.model_copy(update=times)})

    def to_json(self) -> str:
        """The report as indented JSON, with each list of numbers on one line."""
        text = self.model_dump_json(indent=2)
        return re.sub(r"\[\n[\d\s,.eE+-]+\]", lambda found: " ".join(found[0].split()), text) + "\n"

    @classmethod
    def read(cls, path: Path) -> RunReport:
        """Read a ``report.json``.

        Raises:
            InputError: The file is no report of this package.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"'{path}' is no report of matgl_fill: {where}: {first['msg']}.") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"'{path}' is no report of matgl_fill: {error}.") from error
