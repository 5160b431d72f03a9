"""A model's files: loaded as they were written, or refused before anything that they name is imported or called."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import DGL

import matgl_fill as mf
from matgl_fill.adapters import files
from matgl_fill.adapters.assemble import build_model
from matgl_fill.adapters.files import FILES, read_files
from matgl_fill.errors import ModelError
from matgl_fill.structures import bundled

FLIPS = 60
"""Number of bits that are flipped, one at a time."""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Copy of the bundled model's folder."""
    return Path(shutil.copytree(bundled.MODEL, tmp_path / "model", copy_function=shutil.copyfile))


def change(folder: Path, file: str, edit) -> None:
    """Apply ``edit`` to the content of one of a model's files."""
    path = folder / file
    if file == "model.json":
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
    else:
        content = torch.load(path, weights_only=True)
        edit(content)
        torch.save(content, path)


def set_everywhere(folder: Path, **settings) -> None:
    """Set settings in both files that hold them."""
    change(folder, "model.json", lambda content: content["kwargs"].update(settings))
    change(folder, "model.pt", lambda content: content.update(settings))


def same_weights(model, other) -> bool:
    first, second = model.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


PLACES = {
    "an argument": lambda content, entry: content.update(more=entry),
    "a list": lambda content, entry: content.update(more=[1, [entry]]),
    "a tuple": lambda content, entry: content.update(more=(entry,)),
    "a dictionary": lambda content, entry: content.update(more={"a": {"b": entry}}),
    "an argument's arguments": lambda content, entry: content.update(
        more={"@class": "MEGNet", "@module": "matgl.models", "init_args": {"bond_expansion": entry}}
    ),
    "beside an argument's arguments": lambda content, entry: content.update(
        more={"@class": "MEGNet", "@module": "matgl.models", "init_args": {}, "rest": entry}
    ),
    "an old argument": lambda content, entry: content.update({"@rest": entry, "side": entry}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("file", ["model.pt", "model.json"])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("subprocess", "getoutput"),
        ("canary", "run"),
        ("matgl.models", "os"),
        ("matgl.config", "shutil"),
    ],
)
def test_no_name_of_a_file_is_imported_or_called(folder, file, place, module, name, tmp_path, monkeypatch):
    touched = tmp_path / "touched"
    (tmp_path / "canary.py").write_text(f"from pathlib import Path\nPath({str(touched)!r}).touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    argument = {"canary": {}}.get(module, {"command": f"touch {touched}"})
    entry = {"@class": name, "@module": module, "init_args": argument}
    where = (
        (lambda c: PLACES[place](c["kwargs"], entry)) if file == "model.json" else (lambda c: PLACES[place](c, entry))
    )
    change(folder, file, where)
    with pytest.raises(ModelError, match=rf"names {module}\.{name}, .* nothing was imported or run"):
        mf.load_model(folder)
    assert not touched.exists()
    assert "canary" not in sys.modules


@pytest.mark.parametrize(("module", "name"), [("canary", "MEGNet"), ("matgl.models", "MatGLModel"), ("os", "system")])
def test_the_model_itself_is_none_but_a_model(folder, module, name, tmp_path, monkeypatch):
    (tmp_path / "canary.py").write_text("raise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    change(folder, "model.json", lambda content: content.update({"@class": name, "@module": module}))
    with pytest.raises(ModelError, match=rf"names {module}\.{name}"):
        mf.load_model(folder)
    assert "canary" not in sys.modules


def test_a_pickle_that_runs_something_is_refused(folder, tmp_path):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    for file in ("model.pt", "state.pt"):
        whole = (folder / file).read_bytes()
        torch.save({"cutoff": Runs()}, folder / file)
        with pytest.raises(ModelError, match=rf"{file} is refused: it names .*mkdir"):
            mf.load_model(folder)
        (folder / file).write_bytes(whole)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_refused_or_changes_nothing(folder, file):
    """Bits of names and numbers are noticed; those of padding and dates change nothing that is loaded."""
    model, whole = mf.load_model(folder), (folder / file).read_bytes()
    metadata = read_files(folder).metadata
    rng = np.random.default_rng(0)
    refused = 0
    for bit in rng.choice(8 * len(whole), FLIPS, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        (folder / file).write_bytes(damaged)
        try:
            assert same_weights(build_model(read_files(folder)), model)
        except ModelError:
            refused += 1
    assert refused > FLIPS / 2 or file == "model.json"
    assert metadata
    (folder / file).write_bytes(whole)


@pytest.mark.parametrize("file", ["model.pt", "state.pt"])
def test_every_bit_of_an_archives_records_and_names_counts(folder, file):
    """The heads and the list of an archive's records, where checksums do not reach, are tried byte by byte."""
    model, whole = mf.load_model(folder), (folder / file).read_bytes()
    places = [i for i in range(len(whole)) if whole[i : i + 2] == b"PK"]
    rng = np.random.default_rng(1)
    spots = [int(i) + int(o) for i in rng.choice(places, 30) for o in rng.integers(0, 60, 3)]
    for spot in spots:
        damaged = bytearray(whole)
        damaged[min(spot, len(whole) - 1)] ^= 1 << int(rng.integers(8))
        (folder / file).write_bytes(damaged)
        try:
            assert same_weights(build_model(read_files(folder)), model)
        except ModelError:
            continue


@pytest.mark.parametrize("file", FILES)
def test_a_part_of_a_file_is_refused(folder, file):
    whole = (folder / file).read_bytes()
    for share in (0, 0.3, 0.7, 0.999):
        (folder / file).write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ModelError, match=file):
            mf.load_model(folder)


SETTINGS = [
    {"cutoff": 0.0},
    {"cutoff": -1.0},
    {"cutoff": float("nan")},
    {"cutoff": float("inf")},
    {"cutoff": "5"},
    {"cutoff": None},
    {"gauss_width": 0},
    {"nblocks": 10**7},
    {"nblocks": 0},
    {"nblocks": 2.5},
    {"dim_node_embedding": 10**6},
    {"dim_state_embedding": -(10**9)},
    {"hidden_layer_sizes_conv": (64, 10**6, 32)},
    {"hidden_layer_sizes_conv": 64},
    {"niters_set2set": 10**12},
    {"element_types": ("Na", "Na")},
    {"element_types": ("Na", "Xx")},
    {"element_types": "NaCl"},
    {"activation_type": "os.system"},
    {"dropout": 2.0},
    {"no_such_setting": {1: 2}},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_that_no_model_has_are_refused_at_once(folder, settings):
    set_everywhere(folder, **settings)
    start = time.perf_counter()
    with pytest.raises(ModelError, match="cannot load a MatGL model from"):
        mf.load_model(folder)
    assert time.perf_counter() - start < 2


def test_settings_do_not_build_more_than_the_weights_are_for(folder):
    """Every setting is within its own bounds, but together they make a network of 40 times the file's weights."""
    set_everywhere(folder, nblocks=100, hidden_layer_sizes_conv=(256, 256, 256))
    with pytest.raises(ModelError, match="larger model than its weights"):
        mf.load_model(folder)


@pytest.mark.parametrize("value", [5.5, "5.0", None, True])
def test_both_files_have_to_describe_the_same_model(folder, value):
    change(folder, "model.json", lambda content: content["kwargs"].update(cutoff=value))
    with pytest.raises(ModelError, match="differ in 'cutoff'"):
        mf.load_model(folder)


@pytest.mark.parametrize("content", [[], "text", 1, None, {}, {"@class": 1, "@module": "matgl.models"}], ids=str)
def test_other_json_is_refused(folder, content):
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"model\.json"):
        mf.load_model(folder)


@pytest.mark.parametrize("metadata", ["text", 1, [], {"matgl_fill": "text"}], ids=str)
def test_metadata_is_an_object(folder, metadata):
    change(folder, "model.json", lambda content: content.update(metadata=metadata))
    with pytest.raises(ModelError, match="metadata"):
        mf.load_model(folder)


def test_endless_nesting_is_refused(folder):
    nested: list[object] = []
    nested.append(nested)
    many: list[object] = []
    for _ in range(60):
        many = [many, many]
    whole = (folder / "model.json").read_text()
    for value in (nested, many):
        set_in_pt = torch.load(bundled.MODEL / "model.pt", weights_only=True)
        torch.save(set_in_pt | {"more": value}, folder / "model.pt")
        with pytest.raises(ModelError, match=r"model\.pt holds more settings"):
            mf.load_model(folder)
    shutil.copyfile(bundled.MODEL / "model.pt", folder / "model.pt")
    (folder / "model.json").write_text(whole.replace('"metadata": {', '"more": ' + "[" * 10**5 + ', "metadata": {'))
    with pytest.raises(ModelError, match=r"model\.json is not JSON"):
        mf.load_model(folder)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_said_at_once(folder, file):
    (folder / file).unlink()
    start = time.perf_counter()
    with pytest.raises(ModelError, match=rf"no MatGL model in .*{file} is missing"):
        mf.load_model(folder)
    (folder / file).mkdir()
    with pytest.raises(ModelError, match=file):
        mf.load_model(folder)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "source", ["nowhere/at/all", "./nowhere", "/nowhere", "model.pt", "models/nothing", "..", "~/no"]
)
def test_a_path_is_never_asked_for_on_the_hub(source, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "model.pt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "files_on_hub", lambda *args: pytest.fail("the hub was asked"))
    with pytest.raises(ModelError, match="does not exist" if "no" in source else "no MatGL model in"):
        mf.load_model(source)


def test_what_the_hub_gives_is_checked_too(folder, monkeypatch):
    given = {file: folder / file for file in FILES}
    monkeypatch.setattr(files, "files_on_hub", lambda *args: given)
    model = mf.load_model("MEGNet-of-the-hub")
    assert same_weights(model, build_model(read_files(bundled.MODEL)))
    entry = {"@class": "system", "@module": "os", "init_args": {"command": "false"}}
    change(folder, "model.pt", lambda content: content.update(more=entry))
    with pytest.raises(ModelError, match=r"names os\.system"):
        mf.load_model("MEGNet-of-the-hub")


def test_the_folder_of_a_run_leads_to_the_model_in_it(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "out/model")
    with pytest.raises(ModelError, match=rf"no MatGL model in .*; did you mean '{tmp_path}/out/model'\?"):
        mf.load_model(tmp_path / "out")


BAD_WEIGHTS = {
    "NaN": lambda w: w.index_fill(0, torch.tensor([0]), float("nan")),
    "infinite": lambda w: w / 0,
    "sparse": lambda w: w.to_sparse(),
    "quantized": lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
    "meta": lambda w: w.to("meta"),
    "expanded": lambda w: torch.zeros(1).expand(10**6, 10**6),
    "complex": lambda w: w.to(torch.complex64),
    "whole": lambda w: w.to(torch.int64),
    "boolean": lambda w: w.to(torch.bool),
    "another shape": lambda w: w[:-1],
    "text": lambda w: "text",
    "a list": lambda w: w.tolist(),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_weights_are_finite_dense_and_of_the_right_shape(folder, kind):
    def spoil(state):
        name = next(name for name in state if name.endswith("weight") and state[name].dim() == 2)
        state[name] = BAD_WEIGHTS[kind](state[name])

    change(folder, "state.pt", spoil)
    with pytest.raises(ModelError, match=r"state\.pt|do not fit"):
        mf.load_model(folder)


def test_all_weights_and_no_others(folder):
    change(folder, "state.pt", lambda state: state.update(more=torch.zeros(2)))
    with pytest.raises(ModelError, match=r"holds 1 tensor that the model does not have \(first: more"):
        mf.load_model(folder)
    change(folder, "state.pt", lambda state: [state.pop("more"), state.popitem()])
    with pytest.raises(ModelError, match="lacks 1 tensor of the model"):
        mf.load_model(folder)


@pytest.mark.skipif(DGL, reason="the bundled potential is PyG's")
def test_plain_matgl_types_stay_on_the_list_of_the_restricted_unpickler(tmp_path):
    """PyTorch's ``safe_globals`` takes types off the list that MatGL had put on it."""
    before = torch.serialization.get_safe_globals()
    mf.load_model(bundled.POTENTIAL)
    assert set(torch.serialization.get_safe_globals()) == set(before)
    assert np.ndarray in before


def test_settings_of_another_model_are_refused_even_if_none_is_shared(folder):
    """MatGL's constructors take arguments that they do not know, so that their defaults would make the model."""
    change(folder, "model.pt", lambda settings: settings.clear() or settings.update(unknown=1))
    with pytest.raises(ModelError, match="do not describe the same model: only one of them has"):
        mf.load_model(folder)


@pytest.mark.parametrize("version", [[], "2"])
def test_versions_that_no_matgl_wrote_are_refused(folder, version):
    described = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(described | {"@model_version": version}))
    with pytest.raises(ModelError):
        mf.load_model(folder)
