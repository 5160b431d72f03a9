"""Mutated files of unfinished runs, caches, analyses, reports and settings, and what going on with them gives."""

from __future__ import annotations

import atexit
import json
import shutil
import sqlite3
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from ase.calculators.lj import LennardJones
from torch import nn

import matgl_fill as mf
from examples.benchmarks.robustness import mutators
from examples.benchmarks.robustness.models import SAVED
from examples.benchmarks.robustness.mutators import Mutant, Rng
from examples.benchmarks.robustness.verdict import Case, Outcome, Right, Verdict, of_error, warned
from matgl_fill.config import FillConfig, settings_toml
from matgl_fill.report.html import rebuild_report
from matgl_fill.report.model import RunReport
from matgl_fill.roughness import RoughnessResult
from matgl_fill.structures import StructureSet, bundled
from matgl_fill.training import module
from matgl_fill.utils.checkpoint import Checkpoint

QUICK = {"steps": 4, "copies": 1, "enlarge_pool": 0, "replay_size": 20}
CRYSTALS = 30
STEP = 2
"""Of the training in which the run is interrupted."""
ROUNDING = 2e-6
"""By which a row that is computed again, in another batch, may differ, relative and absolute."""


@dataclass(frozen=True)
class Base:
    """What is mutated, and what it gives unchanged.

    Attributes:
        folder: Folder of the unfinished run, of the unfinished search, the cache and the analysis.
        model: The bundled model.
        pool: Crystals of all of them.
        run: Weights, crystals and verdict of the run.
        found: Crystals of the search.
        Z: Embedding of the crystals.
    """

    folder: Path
    model: nn.Module
    pool: StructureSet
    run: dict[str, Any]
    found: list[Any]
    Z: np.ndarray


def oracle() -> LennardJones:
    """Labels that cost nothing."""
    return LennardJones(sigma=2.2, epsilon=0.5, rc=6.0, smooth=True)


def tuned(base_model: nn.Module, pool: StructureSet, out: Path | None, resume: bool) -> dict[str, Any]:
    """All that a run gives, in arrays and texts."""
    result = mf.fill_tune(base_model, pool, n=1, oracle=oracle(), config=QUICK, out=out, resume=resume)
    facts = json.loads(result.report.to_json())
    facts["run"] = {k: v for k, v in facts["run"].items() if k not in ("stages", "wall_seconds")}
    crystals = [p.structure.as_dict() for p in result.proposals]
    return {"weights": result.model.state_dict(), "facts": facts, "crystals": crystals}


def same_run(one: dict[str, Any], other: dict[str, Any]) -> str:
    """What differs between two runs; empty if nothing does."""
    a, b = one["weights"], other["weights"]
    if a.keys() != b.keys() or not all(torch.equal(a[k], b[k]) for k in a):
        return "other weights"
    return next((f"other {name}" for name in ("crystals", "facts") if one[name] != other[name]), "")


@contextmanager
def interrupted(name: str, times: int) -> Iterator[None]:
    """Interrupt at the ``times``-th saving of a file."""
    save, left = Checkpoint.save, [times]

    def counting(self: Checkpoint, state: dict[str, Any]) -> None:
        save(self, state)
        left[0] -= self.path is not None and self.path.name == name
        if left[0] == 0:
            raise KeyboardInterrupt

    Checkpoint.save = counting  # type: ignore[method-assign]
    seconds, module.SAVE_SECONDS = module.SAVE_SECONDS, 0.0
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        Checkpoint.save, module.SAVE_SECONDS = save, seconds  # type: ignore[method-assign]


def prepare() -> Base:
    """Make an unfinished run and search, a cache and an analysis."""
    folder = Path(tempfile.mkdtemp(prefix="robustness-base-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = mf.load_model("default")
    pool = bundled.bundled_pool(model.element_types).subset(range(CRYSTALS))  # type: ignore[arg-type]
    with interrupted("training.pt", STEP):
        tuned(model, pool, folder / "out", resume=False)
    with interrupted("search.partial", 1):
        mf.propose(model, pool, n=1, checkpoint=folder / "search.partial")
    run, found = tuned(model, pool, None, resume=False), mf.propose(model, pool, n=1)
    Z = mf.embed(model, pool, cache=folder / "cache.sqlite")
    mf.analyze_roughness(Z, structures=pool).save(folder / "roughness.npz")
    return Base(folder, model, pool, run, [p.structure.as_dict() for p in found], Z)


def cases(seed: int, n: int) -> list[Case]:
    """``n`` mutants, all kinds in turn."""
    base = prepare()
    made = []
    for number in range(n):
        mutate, judge, name = KINDS[number % len(KINDS)]
        case = partial(judge, mutate, base, seed + number)
        made.append(Case("run and cache files", f"{name}, {mutate.__name__.strip('_')}", seed + number, case))
    return made


Mutate = Callable[[Base, Path, Rng], Mutant]


def _answer(right: Right, early: bool, action: Callable[[], str]) -> Verdict:
    """Verdict of an action that says what differs from the unchanged file's result."""
    try:
        with warned() as told:
            differs = action()
    except Exception as error:
        return of_error(error, early, right)
    if not differs:
        return Verdict(Outcome.SAME)
    return Verdict(Outcome.TYPED, told.texts[0]) if told.texts else Verdict(Outcome.SILENT, differs)


# -- unfinished runs and searches --------------------------------------------------------------------------------


def _state_file(base: Base, rng: Rng) -> Path:
    files = sorted(base.folder.glob("out/run.partial/*.pt"))
    return files[int(rng.integers(len(files)))]


def _run(mutate: Mutate, base: Base, seed: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    rng = np.random.default_rng(seed)
    (folder / "canary_module.py").write_text(mutators.MODULE)
    shutil.copytree(base.folder / "out", folder / "out")
    file = _state_file(base, rng) if mutate not in (_facts, _facts_text) else base.folder / "out/run.partial/run.json"
    mutant = mutate(base, file, rng)
    tell(f"{file.name}: {mutant.what}")
    (folder / "out" / "run.partial" / file.name).write_bytes(mutant.data)
    return _answer(
        mutant.right, True, lambda: same_run(tuned(base.model, base.pool, folder / "out", resume=True), base.run)
    )


def _search(mutate: Mutate, base: Base, seed: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    mutant = mutate(base, base.folder / "search.partial", np.random.default_rng(seed))
    tell(f"search.partial: {mutant.what}")
    (folder / "canary_module.py").write_text(mutators.MODULE)
    (folder / "search.partial").write_bytes(mutant.data)

    def go_on() -> str:
        found = mf.propose(base.model, base.pool, n=1, checkpoint=folder / "search.partial")
        return "" if [p.structure.as_dict() for p in found] == base.found else "other crystals"

    return _answer(mutant.right, True, go_on)


def _bytes(_base: Base, file: Path, rng: Rng) -> Mutant:
    data, what = mutators.BYTES[int(rng.integers(len(mutators.BYTES)))](file.read_bytes(), rng)
    return Mutant(data, what)


def _bit(_base: Base, file: Path, rng: Rng) -> Mutant:
    return Mutant(*mutators.flip(file.read_bytes(), rng))


def _state_changed(file: Path, change: Callable[[Any], tuple[Any, str]]) -> Mutant:
    new, what = change(torch.load(file, map_location="cpu", weights_only=False))
    return Mutant(mutators.dumped(new), what)


def _state_tree(_base: Base, file: Path, rng: Rng) -> Mutant:
    mutate = (mutators.retype, mutators.delete, mutators.add)[int(rng.integers(3))]
    return _state_changed(file, lambda tree: mutate(tree, rng))


def _state_arrays(_base: Base, file: Path, rng: Rng) -> Mutant:
    """An array with NaN, of another shape or type."""

    def change(tree: Any) -> tuple[Any, str]:
        paths = [p for p in mutators.places(tree) if isinstance(mutators.at(tree, p), np.ndarray | torch.Tensor)]
        if not paths:
            return mutators.retype(tree, rng)
        path = paths[int(rng.integers(len(paths)))]
        old = mutators.at(tree, path)
        array = np.array(old)
        spoilt = array.astype(float)
        spoilt.reshape(-1)[: max(1, spoilt.size // 3)] = np.nan
        forms = (
            (spoilt, "has NaN"),
            (array.reshape(-1)[:1].reshape(()) if array.size else np.zeros(()), "is a single number"),
            (array[..., None], "has one dimension more"),
            (array.reshape(-1)[:-1], "is shorter"),
            (array.astype(np.complex64), "is complex"),
            (np.zeros((0, 3)), "is empty"),
        )
        new, what = forms[int(rng.integers(len(forms)))]
        value = torch.from_numpy(np.ascontiguousarray(new)) if torch.is_tensor(old) else new
        return mutators.with_entry(tree, path, value), f"{mutators.named(path)} {what}"

    return _state_changed(file, change)


def _state_hostile(_base: Base, file: Path, rng: Rng) -> Mutant:
    """A pickle that runs a command, or an entry that names one."""
    if rng.random() < 0.5:
        return _state_changed(file, lambda tree: mutators.hostile(tree, rng))
    call = mutators.COMMANDS[int(rng.integers(len(mutators.COMMANDS)))]
    command = mutators.Command(call)
    return _state_changed(file, lambda tree: (tree | {"state": tree["state"] | {"extra": command}}, f"calls {call}"))


def _facts(_base: Base, file: Path, rng: Rng) -> Mutant:
    mutate = mutators.TREES[int(rng.integers(len(mutators.TREES)))]
    tree, what = mutate(json.loads(file.read_text()), rng)
    return Mutant(mutators.as_json(tree), what)


def _facts_text(_base: Base, file: Path, rng: Rng) -> Mutant:
    return Mutant(*mutators.json_text(file.read_bytes(), rng))


# -- caches ------------------------------------------------------------------------------------------------------


def _cache(mutate: Mutate, base: Base, seed: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    mutant = mutate(base, base.folder / "cache.sqlite", np.random.default_rng(seed))
    tell(f"cache: {mutant.what}")
    path = folder / "cache.sqlite"
    path.write_bytes(mutant.data)

    def embed_again() -> str:
        Z = mf.embed(base.model, base.pool, cache=path)
        same = Z.shape == base.Z.shape and np.allclose(Z, base.Z, rtol=ROUNDING, atol=ROUNDING)
        return "" if same else "another embedding"

    return _answer(mutant.right, True, embed_again)


def _cache_rows(_base: Base, file: Path, rng: Rng) -> Mutant:
    """Rows that no embedding has."""
    statements = (
        ("UPDATE embedding SET row = NULL", "rows are NULL"),
        ("UPDATE embedding SET row = 'text'", "rows are texts"),
        ("UPDATE embedding SET row = substr(row, 1, 8)", "rows are short"),
        ("UPDATE embedding SET row = substr(row, 1, 7)", "rows are of no whole number of floats"),
        ("UPDATE embedding SET row = row || row", "rows are long"),
        ("UPDATE embedding SET row = 3.5", "rows are numbers"),
        ("UPDATE embedding SET row = x''", "rows are empty"),
        ("UPDATE embedding SET row = zeroblob(length(row))", "rows are zero"),
        ("UPDATE embedding SET row = (SELECT row FROM embedding LIMIT 1)", "all rows are the first"),
        (f"UPDATE embedding SET row = cast(x'{'0000c07f' * 32}' AS BLOB)", "rows are NaN"),
        ("DROP TABLE embedding", "no table"),
        ("DELETE FROM embedding", "no rows"),
        ("ALTER TABLE embedding RENAME COLUMN row TO line", "another column"),
        ("ALTER TABLE embedding ADD COLUMN more INTEGER", "a column more"),
        ("ALTER TABLE embedding RENAME TO other", "another table"),
        ("CREATE TABLE other (a)", "a table more"),
        ("CREATE TRIGGER t AFTER INSERT ON embedding BEGIN DELETE FROM embedding; END", "a trigger"),
        ("CREATE TABLE e2 AS SELECT * FROM embedding; DROP TABLE embedding; "
         "CREATE VIEW embedding AS SELECT * FROM e2", "a view"),
        ("PRAGMA user_version = 99", "another version"),
    )  # fmt: skip
    statement, what = statements[int(rng.integers(len(statements)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cache.sqlite")
        shutil.copy(file, path)
        with sqlite3.connect(path) as db:
            columns = [row[1] for row in db.execute("PRAGMA table_info(embedding)")]
            db.executescript(statement if "row" in columns else "DELETE FROM embedding")
        db.close()
        return Mutant(path.read_bytes(), what)


# -- analyses, reports, settings ---------------------------------------------------------------------------------


def _analysis(mutate: Mutate, base: Base, seed: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    mutant = mutate(base, base.folder / "roughness.npz", np.random.default_rng(seed))
    tell(f"roughness.npz: {mutant.what}")
    path, original = folder / "roughness.npz", RoughnessResult.load(base.folder / "roughness.npz")
    path.write_bytes(mutant.data)

    def use() -> str:
        loaded = RoughnessResult.load(path)
        loaded.check_width(base.Z.shape[1])
        again = [loaded.local(base.Z), *loaded.maxima(5), np.array(loaded.frustration), loaded.response]
        usual = [original.local(base.Z), *original.maxima(5), np.array(original.frustration), original.response]
        equal = all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(again, usual, strict=True))
        return "" if equal else "another roughness"

    return _answer(mutant.right, True, use)


def _arrays(_base: Base, file: Path, rng: Rng) -> Mutant:
    """Arrays that are missing, of another shape or type, not finite, or point nowhere."""
    with np.load(file) as saved:
        arrays: dict[str, Any] = {name: saved[name] for name in saved.files}
    name = sorted(arrays)[int(rng.integers(len(arrays)))]
    old = arrays[name]
    broken = old.astype(float).reshape(-1) if old.dtype.kind in "if" else np.zeros(1)
    forms = (
        (None, "is missing"),
        (np.full(np.shape(old), np.nan), "is NaN"),
        (broken[: len(broken) // 2], "is half"),
        (np.array(["text"]), "is a text"),
        (np.array([{"a": 1}], dtype=object), "is an object"),
        (np.array(mutators.Command("os.system"), dtype=object), "calls os.system"),
        (np.zeros((2, 2, 2)), "is of another shape"),
        (np.array(-1), "is a single number"),
        (broken.reshape(np.shape(old)) + 10**6 if broken.size == old.size else broken, "is too large by 10^6"),
        (np.zeros(0), "is empty"),
    )
    new, what = forms[int(rng.integers(len(forms)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.npz")
        np.savez(path, **{k: v for k, v in (arrays | {name: new}).items() if v is not None})
        return Mutant(path.read_bytes(), f"{name} {what}")


def _report(mutate: Mutate, base: Base, seed: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    source = SAVED / "run"
    mutant = mutate(base, source / "report.json", np.random.default_rng(seed))
    tell(f"report.json: {mutant.what}")
    (folder / "out").mkdir()
    (folder / "out" / "report.json").write_bytes(mutant.data)
    shutil.copy(source / "proposals.extxyz", folder / "out")

    def draw() -> str:
        page = rebuild_report(folder / "out").read_text(encoding="utf-8")
        if "</html>" not in page:
            return "half a page"
        read = json.loads(RunReport.read(folder / "out" / "report.json").to_json())
        return _lost(json.loads(mutant.data), read)

    return _answer(mutant.right, True, draw)


def _lost(said: Any, read: Any, where: str = "") -> str:
    """First entry of a report that was read as something else; what no version knew may be left out."""
    if isinstance(said, dict) and isinstance(read, dict):
        return next((word for k in said.keys() & read.keys() if (word := _lost(said[k], read[k], f"{where}.{k}"))), "")
    if isinstance(said, list) and isinstance(read, list):
        if len(said) != len(read):
            return f"{where}: {len(said)} entries read as {len(read)}"
        return next(
            (w for k, (a, b) in enumerate(zip(said, read, strict=True)) if (w := _lost(a, b, f"{where}.{k}"))), ""
        )
    return "" if said == read or (said != said and read is None) else f"{where}: {said!r} read as {read!r}"


def _report_tree(_base: Base, file: Path, rng: Rng) -> Mutant:
    mutate = mutators.TREES[int(rng.integers(len(mutators.TREES)))]
    tree, what = mutate(json.loads(file.read_text()), rng)
    return Mutant(mutators.as_json(tree), what, Right.SAYS)


def _report_text(_base: Base, file: Path, rng: Rng) -> Mutant:
    if rng.random() < 0.5:
        return _bytes(_base, file, rng)
    return Mutant(*mutators.json_text(file.read_bytes(), rng))


def _settings(mutate: Mutate, base: Base, seed: int, folder: Path, tell: Callable[[str], None]) -> Verdict:
    rng = np.random.default_rng(seed)
    suffix = ("toml", "yaml")[int(rng.integers(2))]
    path = folder / f"config.{suffix}"
    whole = FillConfig.make({"steps": 20}).model_dump()
    text = settings_toml(FillConfig.make({"steps": 20})) if suffix == "toml" else yaml.safe_dump(whole)
    path.write_text(text)
    mutant = mutate(base, path, rng)
    tell(f"config.{suffix}: {mutant.what}")
    path.write_bytes(mutant.data)

    def read() -> str:
        made = FillConfig.make(path).model_dump()
        plain = path.read_text(encoding="utf-8")
        said = tomllib.loads(plain) if suffix == "toml" else yaml.safe_load(plain) or {}
        flat = {k: v for group in made.values() for k, v in group.items()}
        given = [(inner if isinstance(inner, dict) else {group: inner}) for group, inner in said.items()]
        wrong = [k for part in given for k, v in part.items() if v is not None and not _means(v, flat.get(k))]
        return f"{wrong[0]} read as {flat.get(wrong[0])!r}" if wrong else ""

    return _answer(mutant.right, True, read)


def _means(said: Any, read: Any) -> bool:
    """Whether a setting was read as the file says it; numbers may be texts, as YAML takes 1e300 for one."""
    read = list(read) if isinstance(read, tuple) else read
    if said == read:
        return isinstance(said, bool) == isinstance(read, bool)
    try:
        return isinstance(read, int | float) and not isinstance(read, bool) and float(said) == float(read)
    except (TypeError, ValueError):
        return False


def _settings_text(_base: Base, file: Path, rng: Rng) -> Mutant:
    """A value of a setting is another, or the text is damaged."""
    lines = file.read_text().split("\n")
    places = [k for k, line in enumerate(lines) if (":" in line or "=" in line) and not line.startswith("#")]
    k = places[int(rng.integers(len(places)))]
    sign = "=" if file.suffix == ".toml" else ":"
    name = lines[k].split(sign)[0]
    values = (
        "nan", ".nan", "inf", ".inf", "-1", "1e300", "1e999", "0", "text", '"text"', "[1, 2]", "true", "2.5", "10" * 20,
        "", "!!python/object/apply:os.system ['touch CANARY']", "!!python/name:os.system", "&a [*a]", "{a: 1}", "0x10",
        "1_000", "2024-01-01", "'20'", "null",
    )  # fmt: skip
    value = values[int(rng.integers(len(values)))]
    new = "\n".join([*lines[:k], f"{name}{sign} {value}", *lines[k + 1 :]])
    return Mutant(new.encode(), f"{name.strip()} is {value}", Right.SAYS)


def _settings_bytes(base: Base, file: Path, rng: Rng) -> Mutant:
    return Mutant(_bytes(base, file, rng).data, "bytes", Right.SAYS)


KINDS: tuple[tuple[Mutate, Callable[..., Verdict], str], ...] = (
    (_bit, _run, "run.partial"), (_cache_rows, _cache, "cache"), (_state_tree, _run, "run.partial"),
    (_arrays, _analysis, "roughness.npz"), (_bit, _cache, "cache"), (_state_arrays, _run, "run.partial"),
    (_settings_text, _settings, "config"), (_report_tree, _report, "report.json"),
    (_state_hostile, _run, "run.partial"),
    (_state_arrays, _search, "search.partial"), (_facts, _run, "run.json"), (_bytes, _analysis, "roughness.npz"),
    (_bytes, _run, "run.partial"), (_cache_rows, _cache, "cache"), (_settings_bytes, _settings, "config"),
    (_report_text, _report, "report.json"), (_state_tree, _search, "search.partial"), (_facts_text, _run, "run.json"),
    (_bytes, _cache, "cache"), (_bit, _search, "search.partial"),
)  # fmt: skip
"""Mutators, their judges, and what they are tried on."""
