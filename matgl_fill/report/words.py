"""What a report means, in sentences that the page, the notebook and the terminal share."""

from __future__ import annotations

from matgl_fill.evaluation.scores import remark_on_one_value
from matgl_fill.guard import Check
from matgl_fill.report.model import RunReport

OUTSIDE = "outside of the class"
"""End of the names of what the guard measures on crystals that are not of a potential's class."""


def meaning(report: RunReport) -> str:
    """What the verdict means for whoever uses the model; empty where nothing was judged."""
    verdict, run = report.verdict, report.run
    if not report.guard:
        return ""
    if report.label_errors is None:
        if not verdict.accepted:
            return "No weight of the tuned model keeps every budget on crystals that training never saw."
        added = f" Predictions are the original's; the embedding is {run.embedding}." if "⊕" in run.embedding else ""
        return f"Every budget is kept on crystals that training never saw.{added}"
    if not verdict.accepted:
        return (
            "At no weight of the tuned model do errors on held-out labels fall while every other budget is kept; the "
            "figures are those at the smallest weight."
        )
    where = f" The new weights act only among atoms of {', '.join(run.tuned_elements)}." if run.tuned_elements else ""
    return f"Errors on held-out labels fall.{where}"


def budgets(report: RunReport) -> str:
    """What the measures of the guard are, above their table."""
    if report.label_errors is not None:
        return (
            "Errors on held-out labels have to fall. Outside of the class, that is, on crystals of other elements or "
            "far from all labelled ones, nothing may change beyond the budget."
        )
    said = "What the model has to keep, measured on crystals that training never saw."
    if any(check.measure.startswith("proxy probe") for check in report.guard or []):
        said += (
            " Proxy probes predict plain quantities from the embedding; their value is the change of the error, "
            "as far as it is significant, and negative where it fell."
        )
    return said


def elsewhere(report: RunReport) -> list[Check]:
    """What changed outside of a potential's class."""
    return [check for check in report.guard or [] if check.measure.endswith(OUTSIDE)]


def remark(report: RunReport) -> str:
    """A sentence on the tasks that one value for all crystals predicts better; empty if there is none."""
    tasks = report.tasks or []
    return remark_on_one_value((t.name, t.mae_after, t.one_value) for t in tasks if t.one_value is not None)


def typeset(unit: str) -> str:
    """A unit as it is printed: eV/Å³ for eV/A^3."""
    return unit.replace("A^3", "Å³").replace("A3", "Å³").replace("eV/A", "eV/Å")
