"""Labelling on an engine of the user's own: a jobflow job for each crystal, resumed by uuid, gathered in one file."""

from __future__ import annotations

from matgl_fill.workflows.labelling import LabelledFrames, gather, label_flow, label_locally

__all__ = ["LabelledFrames", "gather", "label_flow", "label_locally"]
