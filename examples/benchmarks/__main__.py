"""Command line of the measurements: ``python -m examples.benchmarks``."""

from __future__ import annotations

from collections.abc import Callable

import typer

from examples.benchmarks.embedding import checkpoints, features, throughput
from examples.benchmarks.embedding.scale import scale
from examples.benchmarks.embedding.speed import speed
from examples.benchmarks.evidence import commands as evidence
from examples.benchmarks.evidence import finetuning, guarding, overview
from examples.benchmarks.generation import decoding, moves, relaxation
from examples.benchmarks.potentials import (
    calculator,
    distillation,
    filling,
    filling_data,
    frames,
    heating,
    physics,
    yardstick,
)
from examples.benchmarks.robustness import commands as robustness
from examples.benchmarks.roughness import commands as roughness
from examples.benchmarks.roughness import measures

app = typer.Typer(no_args_is_help=True, help="Measurements that the documentation quotes.")
app.add_typer(evidence.app, name="evidence")
app.add_typer(measures.app, name="measures")
app.add_typer(features.app, name="features")
COMMANDS: dict[str, Callable[..., None]] = {
    "picture": overview.picture,
    "finetune": finetuning.finetune,
    "finetune-table": finetuning.finetune_table,
    "guard": guarding.guard_command,
    "distil": distillation.distil_command,
    "filling": filling.filling,
    "filling-data": filling_data.filling_data,
    "filling-table": filling.filling_table,
    "heating": heating.heating,
    "frames": frames.frames_command,
    "physics": physics.physics,
    "matcalc": yardstick.matcalc,
    "calculator": calculator.calculator,
    "decode": decoding.decode,
    "relax": relaxation.relax,
    "draws": moves.draws,
    "roughness": roughness.roughness_command,
    "embed": throughput.embed_command,
    "scale": scale,
    "speed": speed,
    "legacy": checkpoints.legacy,
    "robustness": robustness.robustness,
}
for name, command in COMMANDS.items():
    app.command(name)(command)

if __name__ == "__main__":
    app()
