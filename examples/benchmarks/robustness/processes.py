"""The command line when it is killed, when the disk is full or read-only, when eight write at once, and on mutants."""

from __future__ import annotations

import atexit
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

import matgl_fill as mf
from examples.benchmarks.robustness import disks, models, mutators
from examples.benchmarks.robustness.models import SOURCES, Files
from examples.benchmarks.robustness.structure_files import FORMATS, crystals, written
from examples.benchmarks.robustness.structure_mutators import MUTATORS as STRUCTURE_MUTATORS
from examples.benchmarks.robustness.verdict import Case, Outcome, Verdict, one_line
from examples.benchmarks.robustness.workers import finish, forked, start
from matgl_fill import cli, pipeline
from matgl_fill.structures import bundled, write_structures
from matgl_fill.training import module

LIMIT = 180.0
"""Seconds of one case: a few runs of a command."""
CODES = range(1, 6)
"""Exit codes of errors."""
TIMED = (".json", ".html", ".png", ".svg", ".pt", ".md")
"""Suffixes of files that hold times or pictures; weights are compared as tensors."""
LARGE = 500_000
"""Kilobytes of a disk that is large enough."""
RUN = ("steps = 4", "copies = 1", "enlarge_pool = 0", "replay_size = 20")
IMPORTED = (pipeline.fill_tune,)
"""What the forks use, so that it is imported before them."""


@dataclass(frozen=True)
class Base:
    """Inputs, and what every command wrote undisturbed."""

    folder: Path
    seconds: dict[str, float]

    @classmethod
    def made(cls) -> Base:
        """Inputs in a folder that goes with this process; no command has run."""
        folder = Path(tempfile.mkdtemp(prefix="robustness-base-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        pool = mf.read_structures(bundled.ASSETS / "crystals_pool.jsonl.gz")
        write_structures(pool.subset(range(60)), folder / "pool.extxyz")
        (folder / "quick.toml").write_text("\n".join(RUN) + "\n")
        return cls(folder, {})

    def run(self, names: Iterable[str]) -> Base:
        """Run some commands once, undisturbed."""
        for name in sorted(names):
            self.whole(name).mkdir(parents=True)
            began = time.monotonic()
            code = forked(partial(_command, self.words(name, self.whole(name))), self.folder / "output", LIMIT)
            assert code == 0, (self.folder / "output").read_text()
            self.seconds[name] = time.monotonic() - began
        return self

    def words(self, name: str, out: Path) -> list[str]:
        """Words of a command that writes to a file or folder inside ``out``."""
        crystals, config = str(self.folder / "pool.extxyz"), str(self.folder / "quick.toml")
        again = ("--resume", "--overwrite")
        return {
            "embed": ["embed", "default", crystals, "-o", str(out / "Z.parquet")],
            "cached": ["embed", "default", crystals, "-o", str(out / "Z.parquet"), "--cache", str(out / "c.sqlite")],
            "run": ["run", "default", crystals, "-n", "1", "--config", config, *again, "-o", str(out / "out")],
            "propose": ["propose", "default", crystals, "-n", "1", "--overwrite", "-o", str(out / "new")],
            "roughness": ["roughness", "default", crystals, "-o", str(out / "rough")],
            "config": ["config", "--write", str(out / "settings.toml")],
            "upgrade": ["upgrade", "default", str(out / "upgraded")],
        }[name]

    def whole(self, name: str) -> Path:
        """Folder of what a command wrote undisturbed."""
        return self.folder / "whole" / name


def _command(words: Sequence[str]) -> None:
    """A command in this process, which saves its training at every step."""
    module.SAVE_SECONDS = 0.0
    sys.argv = ["matgl-fill", *words]
    cli.main()


def terminal(code: int | None, output: Path) -> Verdict:
    """Verdict of an exit code and of what was printed; SAME for success."""
    text = output.read_text(errors="replace")
    last = (text.strip().splitlines() or [""])[-1]
    if code is None:
        return Verdict(Outcome.HANG, "the command did not end")
    if code < 0 or "Traceback" in text:
        return Verdict(Outcome.RAW, f"exit code {code}: {one_line(last)}")
    if code == 0:
        return Verdict(Outcome.SAME)
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if code not in CODES or len(errors) != 1 or not text.rstrip().endswith(errors[0]):
        return Verdict(Outcome.RAW, f"exit code {code}, no error in one line: {one_line(last)}")
    return Verdict(Outcome.TYPED, errors[0])


def differs(found: Path, whole: Path) -> str:
    """The first file that is not as in an undisturbed folder; empty if all are."""
    for path in sorted(whole.rglob("*")):
        other = found / path.relative_to(whole)
        if path.is_dir() or path.name.endswith(".sqlite"):
            continue
        if not other.is_file():
            return f"no {path.relative_to(whole)}"
        if word := _file_differs(other, path):
            return f"{path.relative_to(whole)} {word}"
    return ""


def _file_differs(found: Path, whole: Path) -> str:
    if whole.name == "state.pt":
        a, b = (torch.load(p, weights_only=True) for p in (found, whole))
        return "" if a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) else "has other weights"
    if whole.suffix in TIMED:
        return "" if found.stat().st_size else "is empty"
    return "" if found.read_bytes() == whole.read_bytes() else "differs"


def part(found: Path, whole: Path) -> str:
    """The first file that was left in part, or litter; files that are kept to go on from may be there."""
    for path in sorted(found.rglob("*")):
        name = path.relative_to(found)
        if (
            any(p.endswith(".partial") for p in name.parts)
            or path.is_dir()
            or ".sqlite" in path.name
            or ".partial" in path.name
        ):
            continue
        if not (whole / name).exists():
            return f"left {name}"
        if word := _file_differs(path, whole / name):
            return f"{name} {word}"
    return ""


# -- kills -------------------------------------------------------------------------------------------------------


def kill_cases(seed: int, n: int) -> list[Case]:
    """``n`` kills: two in three of ``embed``, the others of ``run``, each followed by the same call."""
    names = ("embed", "embed", "run")
    base = Base.made().run(set(names[:n]))
    made = []
    for number in range(n):
        name = names[number % len(names)]
        made.append(Case("kills", name, seed + number, partial(_killed, base, name, seed + number)))
    return made


def _killed(base: Base, name: str, seed: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    out, output = folder / "disk", folder / "printed"
    out.mkdir()
    rng = random.Random(seed)
    moment = rng.uniform(0, base.seconds[name])
    tell(f"killed after {moment:.2f} of {base.seconds[name]:.1f} s")
    pid = start(partial(_command, base.words(name, out)), output)
    code = finish(pid, moment)
    if code not in (None, 0):
        return Verdict(Outcome.RAW, f"exit code {code} before the kill")
    if word := part(out, base.whole(name)) if name == "embed" else "":
        return Verdict(Outcome.RAW, f"after the kill: {word}")
    verdict = terminal(forked(partial(_command, base.words(name, out)), output, LIMIT / 2), output)
    if verdict.outcome is not Outcome.SAME:
        return verdict if verdict.bad else Verdict(Outcome.RAW, f"does not go on: {verdict.detail}")
    word = differs(out, base.whole(name))
    return Verdict(Outcome.SILENT, word) if word else verdict


# -- disks -------------------------------------------------------------------------------------------------------

SIZES = {
    "cached": (4, 24, 60), "embed": (4, 16, 40), "upgrade": (4, 400, 800), "config": (4,), "roughness": (4, 200, 500),
    "propose": (4, 60, 120), "run": (4, 300, 1100),
}  # fmt: skip
"""Kilobytes of the disks on which every command fails early, on its way, and nearly at its end."""


def disk_cases(seed: int, n: int) -> list[Case]:
    """``n`` of all commands on full and on read-only disks, and with files that may not grow; light commands first."""
    allowed, made = disks.mounts_allowed(), []
    base = Base.made()
    for name, sizes in SIZES.items():
        for size in sizes:
            if allowed:
                made.append(Case("disk full", f"{name}, {size} kB", seed, partial(_full, base, name, size)))
            limited = partial(_file_limit, base, name, size)
            made.append(Case("file size limit", f"{name}, {size} kB", seed, limited))
        if allowed:
            made.append(Case("read-only", name, seed, partial(_read_only, base, name)))
    base.run({case.name.split(",")[0] for case in made[:n]})
    return made[:n]


def _full(base: Base, name: str, size: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    """A disk that is full on the way; then there is room, and the same call is given again."""
    tell(f"a disk of {size} kB")
    out, output = folder / "disk", folder / "printed"
    disks.own_mounts()
    disks.small_disk(out, size)
    first = terminal(forked(partial(_command, base.words(name, out)), output, LIMIT / 2), output)
    if first.bad:
        return first
    if word := part(out, base.whole(name)) if first.outcome is Outcome.TYPED else "":
        return Verdict(Outcome.RAW, f"{first.detail}; after it: {word}")
    disks.change_disk(out, LARGE)
    return _again(base, name, out, output, first)


def _file_limit(base: Base, name: str, size: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    """Files that may not grow beyond a size; then they may, and the same call is given again."""
    tell(f"files of at most {size} kB")
    out, output = folder / "disk", folder / "printed"
    out.mkdir()

    def limited() -> None:
        disks.limit_files(max(size // 2, 4))
        _command(base.words(name, out))

    first = terminal(forked(limited, output, LIMIT / 2), output)
    if first.bad:
        return first
    if word := part(out, base.whole(name)) if first.outcome is Outcome.TYPED else "":
        return Verdict(Outcome.RAW, f"{first.detail}; after it: {word}")
    return _again(base, name, out, output, first)


def _again(base: Base, name: str, out: Path, output: Path, first: Verdict) -> Verdict:
    """The same call with room for it; what comes out has to be as if nothing had happened."""
    if first.outcome is Outcome.TYPED:
        second = terminal(forked(partial(_command, base.words(name, out)), output, LIMIT / 2), output)
        if second.outcome is not Outcome.SAME:
            return second if second.bad else Verdict(Outcome.RAW, f"does not go on: {second.detail}")
    word = differs(out, base.whole(name))
    return Verdict(Outcome.SILENT, word) if word else first


def _read_only(base: Base, name: str, folder: Path, tell: Callable[[str], None]) -> Verdict:
    """A disk on which nothing can be written."""
    tell("a read-only disk")
    out, output = folder / "disk", folder / "printed"
    disks.own_mounts()
    disks.small_disk(out, LARGE)
    disks.change_disk(out, LARGE, read_only=True)
    verdict = terminal(forked(partial(_command, base.words(name, out)), output, LIMIT / 2), output)
    return Verdict(Outcome.SILENT, "exit code 0") if verdict.outcome is Outcome.SAME else verdict


# -- eight writers -----------------------------------------------------------------------------------------------


def writer_cases(seed: int, n: int) -> list[Case]:
    """``n`` times eight ``embed`` at once into one file, with the cache beside it or one of all."""
    base = Base.made().run(["embed", "cached"][:n])
    names = ("embed", "cached")
    return [
        Case("eight writers", names[k % 2], seed + k, partial(_eight, base, names[k % 2], seed + k)) for k in range(n)
    ]


def _eight(base: Base, name: str, seed: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    tell("eight at once")
    out = folder / "disk"
    out.mkdir()
    rng = random.Random(seed)
    running: list[tuple[int, Path]] = []
    for k in range(8):
        output = folder / f"printed-{k}"
        running.append((start(partial(_command, base.words(name, out)), output), output))
        time.sleep(rng.uniform(0, 0.1))
    verdicts = [terminal(finish(pid, LIMIT / 2), output) for pid, output in running]
    if bad := [v for v in verdicts if v.outcome is not Outcome.SAME]:
        return Verdict(Outcome.RAW, f"{len(bad)} of 8 fail: {bad[0].detail}")
    word = differs(out, base.whole(name))
    return Verdict(Outcome.SILENT, word) if word else Verdict(Outcome.SAME)


# -- mutants on the command line ---------------------------------------------------------------------------------


def terminal_cases(seed: int, n: int) -> list[Case]:
    """``n`` mutants of model folders and of files of crystals, given to ``matgl-fill embed``."""
    base = Base.made()
    sources = {name: models.files_of(path) for name, path in SOURCES.items()}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: written(name, list(crystals()), Path(folder)) for name in FORMATS}
    made = []
    for k in range(n):
        judge = (
            partial(_mutant_model, base, sources, k, seed + k) if k % 2 else partial(_mutant_file, files, k, seed + k)
        )
        made.append(Case("command line", "model folder" if k % 2 else "structure file", seed + k, judge))
    return made


def _mutant_model(
    base: Base, sources: dict[str, Files], k: int, seed: int, folder: Path, tell: Callable[[str], None]
) -> Verdict:
    source = list(sources)[k // 2 % len(sources)]
    mutate = models.MUTATORS[k // 2 % len(models.MUTATORS)]
    mutant = mutate(sources[source], np.random.default_rng(seed), sources)
    tell(f"{source}: {mutant.what}")
    where = folder / "some" / "model"
    where.mkdir(parents=True)
    (folder / "canary_module.py").write_text(mutators.MODULE)
    for name, data in mutant.files.items():
        (where / name).write_bytes(data)
    return _embeds([str(where), str(base.folder / "pool.extxyz")], folder)


def _mutant_file(files: dict[str, bytes], k: int, seed: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    mutate, takes = STRUCTURE_MUTATORS[k // 2 % len(STRUCTURE_MUTATORS)]
    names = [name for name in FORMATS if takes in name or not takes]
    name = names[k // 2 % len(names)]
    mutant = mutate(name, files[name], np.random.default_rng(seed))
    tell(f"{name}: {mutant.what}")
    (folder / name).write_bytes(mutant.data)
    return _embeds(["default", str(folder / name)], folder)


def _embeds(words: list[str], folder: Path) -> Verdict:
    """The command on a mutant; whether its numbers are right is judged in the other suites."""
    output = folder / "printed"
    command = partial(_command, ["embed", *words, "-o", str(folder / "Z.parquet")])
    return terminal(forked(command, output, 20.0), output)
