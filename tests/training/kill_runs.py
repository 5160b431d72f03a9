"""Kills ``matgl-fill run`` at random moments and lets it go on, until it was killed often enough and is finished.

``python kill_runs.py FOLDER KILLS SEED ARGUMENTS...`` runs once undisturbed into FOLDER/whole, then again and again
into FOLDER/killed-0, and into FOLDER/killed-1 once that is finished, and so on. Every run is a process of its own,
forked from this one after the imports, and saves its training at every step.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from matgl_fill import cli, pipeline
from matgl_fill.training import module

module.SAVE_SECONDS = 0.0
assert pipeline.fill_tune, "imported before the forks"


def start(out: Path, arguments: list[str]) -> int:
    if pid := os.fork():
        return pid
    sys.argv = ["matgl-fill", "run", *arguments, "-o", str(out), "--overwrite"]  # killed when it was finished
    code = 1
    try:
        cli.main()
    except SystemExit as error:
        code = error.code
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(pid: int, seconds: float) -> bool:
    """Whether a process came to its end, with success, within some time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, f"exit status {status}"
            return True
        time.sleep(0.01)
    return False


def main(folder: Path, kills: int, seed: int, arguments: list[str]) -> None:
    begun = time.monotonic()
    assert ended(start(folder / "whole", arguments), 600)
    length = time.monotonic() - begun
    rng, killed, k = random.Random(seed), 0, 0
    while killed < kills:
        out = folder / f"killed-{k}"
        pid = start(out, [*arguments, "--resume"])
        moment = rng.uniform(0, length)
        if ended(pid, moment):
            k += 1
            continue
        os.kill(pid, signal.SIGINT if killed % 3 == 1 else signal.SIGKILL)
        os.waitpid(pid, 0)
        killed += 1
        left = sorted(p.name for p in out.glob("run.partial/*"))
        print(f"killed-{k} after {moment:.1f} of {length:.1f} s, left {left}", flush=True)
    assert ended(start(folder / f"killed-{k}", [*arguments, "--resume"]), 600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
