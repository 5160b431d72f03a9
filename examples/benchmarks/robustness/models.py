"""Mutated folders of models, and what loading and embedding make of them."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matgl
import numpy as np
import torch

import matgl_fill as mf
from examples.benchmarks.robustness import mutators
from examples.benchmarks.robustness.mutators import Rng
from examples.benchmarks.robustness.verdict import Case, Outcome, Right, Verdict, of_error, warned
from matgl_fill.structures import StructureSet, bundled

ROOT = Path(__file__).resolve().parents[3]
SAVED = ROOT / "tests" / "saved_by_0_1"
SOURCES = {
    "default": bundled.MODEL,
    "potential": bundled.POTENTIAL,
    "filled": SAVED / "run" / "model",
    "corrected": SAVED / "corrected" / "model",
}
"""Folders that are mutated: a property model, a potential, and what two runs made of such."""
PLAIN = ("default", "potential")
"""Those that plain MatGL reads."""
FILES = ("model.json", "model.pt", "state.pt")
ELEMENTS = {"Na", "Cl", "Mg", "O", "Si", "Al", "Li", "F"}
Files = dict[str, bytes]


@dataclass(frozen=True)
class Mutant:
    """Files of a mutated folder, what was changed, and what is right."""

    files: Files
    what: str
    right: Right


def files_of(folder: Path) -> Files:
    """The three files of a model."""
    return {name: (folder / name).read_bytes() for name in FILES}


def crystals() -> StructureSet:
    """Three small crystals that every source takes."""
    pool = mf.read_structures(bundled.ASSETS / "crystals_pool.jsonl.gz")
    return pool.subset([k for k, s in enumerate(pool) if {e.symbol for e in s.elements} <= ELEMENTS][:3])


def result(model: Any, few: StructureSet) -> np.ndarray:
    """Embedding and prediction of the crystals, (n, width + 1)."""
    adapter = mf.get_adapter(model)
    Z = mf.embed(model, few)
    y = adapter.embed_graphs(adapter.graphs(few.structures))[1]
    return np.hstack([Z, np.asarray(y, dtype=np.float32).reshape(len(few), 1)])


def cases(seed: int, n: int) -> list[Case]:
    """``n`` mutants, all mutators in turn on all sources in turn."""
    sources = {name: files_of(path) for name, path in SOURCES.items()}
    few = crystals()
    usual: dict[str, tuple[np.ndarray, set[str]]] = {}
    for name, path in SOURCES.items():
        with warned() as told:
            usual[name] = result(mf.load_model(path), few), told.plain
    made = []
    for number, (mutate, source) in zip(range(n), _plan(), strict=False):
        judge = partial(_judge, mutate, source, sources, seed + number, usual[source], few)
        made.append(Case("model folders", f"{source}, {mutate.__name__.strip('_')}", seed + number, judge))
    return made


def _plan() -> Iterator[tuple[Callable[[Files, Rng, dict[str, Files]], Mutant], str]]:
    """Mutators with sources, without end: every mutator meets every source that it takes."""
    turn = 0
    while True:
        for k, mutate in enumerate(MUTATORS):
            takes = PLAIN if mutate in VALID else tuple(SOURCES)
            yield mutate, takes[(turn + k) % len(takes)]
        turn += 1


def _judge(
    mutate: Callable[[Files, Rng, dict[str, Files]], Mutant],
    source: str,
    sources: dict[str, Files],
    seed: int,
    usual: tuple[np.ndarray, set[str]],
    few: StructureSet,
    folder: Path,
    tell: Callable[[str], None],
) -> Verdict:
    """Load and use one mutant."""
    mutant = mutate(sources[source], np.random.default_rng(seed), sources)
    tell(mutant.what)
    (folder / "canary_module.py").write_text(mutators.MODULE)
    where = folder / "some" / "where" / "model"  # three parts, so that it cannot be the name of a hub's repository
    where.mkdir(parents=True)
    for name, data in mutant.files.items():
        (where / name).write_bytes(data)
    early = True
    try:
        with warned() as told:
            model = mf.load_model(where)
            early = False
            found = result(model, few)
    except Exception as error:
        return of_error(error, early, mutant.right)
    expected, warnings = usual
    if found.shape == expected.shape and np.array_equal(found, expected):
        return Verdict(Outcome.SAME)
    if word := told.beside(warnings):
        return Verdict(Outcome.TYPED, f"warning: {word}")
    if not np.isfinite(found).all():
        return Verdict(Outcome.SILENT, "NaN or infinite embedding or prediction")
    if mutant.right is Right.SAYS and np.array_equal(found, result(matgl.load_model(str(where)), few)):
        return Verdict(Outcome.SAME, "what the file says")
    change = np.abs(found - expected).max() if found.shape == expected.shape else "another shape"
    return Verdict(Outcome.SILENT, f"loaded and embedded, changed by {change}")


# -- files and bytes ---------------------------------------------------------------------------------------------


def _bytes(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    name = FILES[int(rng.choice(3, p=[0.3, 0.3, 0.4]))]
    data, what = mutators.BYTES[int(rng.integers(len(mutators.BYTES)))](files[name], rng)
    return Mutant(files | {name: data}, f"{name}: {what}", Right.REFUSE)


def _bit_of_weights(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    data, what = mutators.flip(files["state.pt"], rng)
    return Mutant(files | {"state.pt": data}, f"state.pt: {what}", Right.REFUSE)


def _bit_of_settings(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    name = FILES[int(rng.integers(2))]
    data, what = mutators.flip(files[name], rng)
    return Mutant(files | {name: data}, f"{name}: {what}", Right.REFUSE)


def _without_a_file(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    name = FILES[int(rng.integers(3))]
    return Mutant({k: v for k, v in files.items() if k != name}, f"no {name}", Right.REFUSE)


def _files_of_two(files: Files, rng: Rng, sources: dict[str, Files]) -> Mutant:
    others = [name for name, other in sources.items() if other != files]
    other, name = others[int(rng.integers(len(others)))], FILES[int(rng.integers(3))]
    return Mutant(files | {name: sources[other][name]}, f"{name} of {other}", Right.REFUSE)


def _two_files_exchanged(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    one, two = (FILES[int(k)] for k in rng.permutation(3)[:2])
    return Mutant(files | {one: files[two], two: files[one]}, f"{one} and {two} exchanged", Right.REFUSE)


# -- model.json --------------------------------------------------------------------------------------------------


def _json_tree(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    mutate = mutators.TREES[int(rng.integers(len(mutators.TREES)))]
    tree, what = mutate(json.loads(files["model.json"]), rng)
    return Mutant(files | {"model.json": mutators.as_json(tree)}, f"model.json: {what}", Right.REFUSE)


def _json_text(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    data, what = mutators.json_text(files["model.json"], rng)
    return Mutant(files | {"model.json": data}, f"model.json: {what}", Right.REFUSE)


def _json_top(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    """An entry of the top level, of which there are five, is of another type."""
    tree = json.loads(files["model.json"])
    name = sorted(tree)[int(rng.integers(len(tree)))]
    value = mutators.RETYPED[int(rng.integers(len(mutators.RETYPED)))]
    return Mutant(
        files | {"model.json": mutators.as_json(tree | {name: value})}, f"model.json: {name} is {value!r}", Right.REFUSE
    )


CLASSES = (
    ("system", "os"), ("M3GNet", "matgl.models"), ("TensorNet", "matgl.models"), ("Potential", "matgl.apps.pes"),
    ("anything", "canary_module"), ("", ""), ("MEGNet", "canary_module"), ("open", "builtins"), ("nn", "matgl.models"),
    ("IOMixIn", "matgl.utils.io"), ("clear_cache", "matgl.config"), ("MEGNet", "matgl.models..os"), (None, 3),
)  # fmt: skip


def _json_class(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    tree = json.loads(files["model.json"])
    paths = [p[:-1] for p in mutators.places(tree) if p[-1] == "@class"]
    path = paths[int(rng.integers(len(paths)))]
    cls, module = CLASSES[int(rng.integers(len(CLASSES)))]
    tree = mutators.with_entry(mutators.with_entry(tree, (*path, "@class"), cls), (*path, "@module"), module)
    what = f"model.json: {mutators.named(path)} is of {module}.{cls}"
    return Mutant(files | {"model.json": mutators.as_json(tree)}, what, Right.REFUSE)


def _json_hostile(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    tree, what = mutators.hostile(json.loads(files["model.json"]), rng)
    return Mutant(files | {"model.json": mutators.as_json(tree)}, f"model.json: {what}", Right.REFUSE)


def _json_rewritten(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    """The same facts, written in another way, or with more to tell."""
    tree = json.loads(files["model.json"])
    told = dict(tree.get("metadata") or {}) | {"note": "mine", "list": [1, None, {"a": "b"}]}
    forms: tuple[tuple[bytes, str], ...] = (
        (json.dumps(tree).encode(), "in one line"),
        (json.dumps(dict(reversed(tree.items())), indent=7).encode(), "in another order"),
        (json.dumps(tree | {"metadata": told}).encode(), "more metadata"),
        (files["model.json"].replace(b"\n", b"\r\n"), "with Windows' line ends"),
    )
    data, what = forms[int(rng.integers(len(forms)))]
    return Mutant(files | {"model.json": data}, f"model.json: {what}", Right.SAME)


# -- model.pt ----------------------------------------------------------------------------------------------------


def _loaded(data: bytes) -> Any:
    with torch.serialization.safe_globals([np.ndarray]):
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)


def _settings(files: Files, rng: Rng, mutate: Callable[[Any, Rng], tuple[Any, str]], right: Right) -> Mutant:
    """Settings changed in ``model.pt`` alone, or in the copy of ``model.json`` too."""
    settings, what = mutate(_loaded(files["model.pt"]), rng)
    new = files | {"model.pt": mutators.dumped(settings)}
    if both := rng.random() < 0.5:
        new["model.json"] = mutators.as_json(json.loads(files["model.json"]) | {"kwargs": settings})
    return Mutant(new, f"model.pt{' and model.json' if both else ''}: {what}", right)


def _settings_tree(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    trees = (mutators.retype, mutators.add, mutators.swap)
    return _settings(files, rng, trees[int(rng.integers(len(trees)))], Right.REFUSE)


def _settings_extreme(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    return _settings(files, rng, mutators.extreme, Right.REFUSE)


def _settings_hostile(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    return _settings(files, rng, mutators.hostile, Right.REFUSE)


def _settings_huge(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    """A width or number of blocks beyond what anybody builds."""
    sizes = ("nblocks", "num_blocks", "num_layers", "units", "dim_node_embedding", "niters_set2set", "num_rbf")

    def mutate(tree: Any, rng: Rng) -> tuple[Any, str]:
        paths = [p for p in mutators.places(tree) if p[-1] in sizes]
        if not paths:
            return mutators.extreme(tree, rng)
        path, value = paths[int(rng.integers(len(paths)))], int(rng.choice([10**4, 10**7, 10**9]))
        return mutators.with_entry(tree, path, value), f"{mutators.named(path)} is {value}"

    return _settings(files, rng, mutate, Right.REFUSE)


def _settings_cutoff(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    def mutate(tree: Any, rng: Rng) -> tuple[Any, str]:
        paths = [p for p in mutators.places(tree) if p[-1] in ("cutoff", "data_std", "data_mean", "gauss_width")]
        if not paths:
            return mutators.extreme(tree, rng)
        path = paths[int(rng.integers(len(paths)))]
        values = (0.0, -1.0, -5.0, float("nan"), float("inf"), 1e-9, 1e6, 1e18, "5", None)
        value = values[int(rng.integers(len(values)))]
        return mutators.with_entry(tree, path, value), f"{mutators.named(path)} is {value!r}"

    return _settings(files, rng, mutate, Right.REFUSE)


def _settings_missing(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    """A setting is missing, so that MatGL takes its default; where both files lack it nothing can tell."""
    mutant = _settings(files, rng, mutators.delete, Right.SAYS)
    return mutant if " and " in mutant.what else Mutant(mutant.files, mutant.what, Right.REFUSE)


def _settings_pickled(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    """A pickle with other types than settings have."""
    name = ("model.pt", "state.pt")[int(rng.integers(2))]
    call = mutators.COMMANDS[int(rng.integers(len(mutators.COMMANDS)))]
    thing = _loaded(files[name]) | {"extra": mutators.Command(call)}
    style = int(rng.integers(3))
    data = mutators.dumped(thing) if style else pickle.dumps(thing)
    if style == 2:
        data = mutators.dumped(mutators.Command(call))
    return Mutant(files | {name: data}, f"{name}: pickle that calls {call}", Right.REFUSE)


# -- state.pt ----------------------------------------------------------------------------------------------------


def _weights(files: Files, rng: Rng, mutate: Callable[[torch.Tensor, Rng], tuple[Any, str]], right: Right) -> Mutant:
    state = dict(_loaded(files["state.pt"]))
    names = [k for k, v in state.items() if torch.is_tensor(v) and v.is_floating_point() and v.numel() > 1]
    name = names[int(rng.integers(len(names)))]
    state[name], what = mutate(state[name], rng)
    return Mutant(files | {"state.pt": mutators.dumped(state)}, f"state.pt: {name} {what}", right)


def _weights_not_finite(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    def mutate(tensor: torch.Tensor, rng: Rng) -> tuple[Any, str]:
        value, new = float(rng.choice([np.nan, np.inf, -np.inf])), tensor.clone()
        new.view(-1)[int(rng.integers(new.numel()))] = value
        return new, f"has an entry {value}"

    return _weights(files, rng, mutate, Right.REFUSE)


def _weights_reshaped(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    def mutate(tensor: torch.Tensor, rng: Rng) -> tuple[Any, str]:
        forms = (
            (tensor.reshape(-1, 1, 1), "has another shape"),
            (tensor[..., :-1], "lacks its last column"),
            (torch.cat([tensor, tensor]), "comes twice"),
            (tensor.to_sparse(), "is sparse"),
            (tensor.new_zeros(1).expand(10**4, 10**5), "is 10^9 numbers of one"),
            (tensor.new_empty(0), "is empty"),
            (tensor.to(torch.complex64) + 1j, "is complex"),
            (torch.full_like(tensor, 1, dtype=torch.bool), "is boolean"),
            (tensor.tolist(), "is a list"),
            (float(tensor.sum()), "is a number"),
            ("text", "is a text"),
            (tensor.to("meta"), "is on no device"),
            (tensor.to(torch.int64), "is of whole numbers"),
        )
        return forms[int(rng.integers(len(forms)))]

    return _weights(files, rng, mutate, Right.REFUSE)


def _weights_missing(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    state = dict(_loaded(files["state.pt"]))
    name = sorted(state)[int(rng.integers(len(state)))]
    value = state.pop(name)
    forms: tuple[tuple[dict[str, Any], str], ...] = (
        (state, f"no {name}"),
        (state | {f"{name}2": value}, f"{name} has another name"),
        (state | {f"module.{k}": v for k, v in state.items()}, f"no {name}, all others twice"),
        ({"state_dict": state | {name: value}}, "in another dictionary"),
    )
    new, what = forms[int(rng.integers(len(forms)))]
    return Mutant(files | {"state.pt": mutators.dumped(new)}, f"state.pt: {what}", Right.REFUSE)


def _weights_more(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    """A tensor that no module has: MatGL ignores it, with which QET went wrong, so that a refusal is right too."""
    state = dict(_loaded(files["state.pt"]))
    name = sorted(state)[int(rng.integers(len(state)))]
    new = state | {f"{name.rpartition('.')[0]}.unheard_of": torch.zeros(3, 4)}
    return Mutant(files | {"state.pt": mutators.dumped(new)}, "state.pt: a tensor more", Right.REFUSE)


def _weights_changed(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    """Other weights of the same shape are another model, which has to be the one that is read."""

    def mutate(tensor: torch.Tensor, rng: Rng) -> tuple[Any, str]:
        forms: tuple[tuple[Any, str], ...] = (
            (tensor * 1.01, "is larger by a percent"),
            (tensor.flip(0), "is turned round"),
            (tensor.half(), "is of half precision"),
            (tensor.double() * 1.001, "is of double precision"),
        )
        return forms[int(rng.integers(len(forms)))]

    return _weights(files, rng, mutate, Right.SAYS)


def _weights_rewritten(files: Files, rng: Rng, _sources: dict[str, Files]) -> Mutant:
    """The same weights, written in another way."""
    state = dict(_loaded(files["state.pt"]))
    forms: tuple[tuple[dict[str, Any], str], ...] = (
        ({k: v.double() if v.is_floating_point() else v for k, v in state.items()}, "in double precision"),
        (dict(reversed(state.items())), "in another order"),
        ({k: torch.nn.Parameter(v, v.is_floating_point()) for k, v in state.items()}, "as parameters"),
    )
    new, what = forms[int(rng.integers(len(forms)))]
    return Mutant(files | {"state.pt": mutators.dumped(new)}, f"state.pt: {what}", Right.SAME)


MUTATORS = (
    _bytes, _json_tree, _settings_hostile, _weights_not_finite, _bit_of_weights, _settings_extreme, _json_class,
    _weights_reshaped, _files_of_two, _settings_tree, _weights_missing, _json_text, _json_hostile, _settings_cutoff,
    _weights_changed, _settings_pickled, _json_top, _settings_huge, _without_a_file, _bit_of_settings,
    _weights_more, _settings_missing, _two_files_exchanged, _json_rewritten, _weights_rewritten,
)  # fmt: skip
"""In an order in which the first ten are of all kinds."""
VALID = (_weights_changed, _settings_missing, _json_rewritten, _weights_rewritten)
"""Mutators whose files plain MatGL reads."""
