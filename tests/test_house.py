"""The house: rooms below each other, modules and functions that can be read, and the way that the docs tell."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from ase.calculators.lj import LennardJones

import matgl_fill as mf

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "matgl_fill"
MODULES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
CONTRIBUTING = (ROOT / "docs" / "CONTRIBUTING.md").read_text()
PUBLIC = {"fill_tune", "propose", "embed", "embed_shards", "analyze_roughness", "Watcher.__init__"}
"""Functions with more arguments, which users call by name; commands of the command line are others."""


def functions(tree: ast.Module):
    """Every function of a module with its qualified name."""

    def inside(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}{child.name}"
                if not isinstance(child, ast.ClassDef):
                    yield name, child
                yield from inside(child, f"{name}.")
            else:
                yield from inside(child, prefix)

    return list(inside(tree, ""))


def arguments(function) -> int:
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def code_lines(function) -> int:
    """Lines of a function without its docstring and the lines of its signature."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def imported(path: str, tree: ast.Module) -> set[str]:
    """Modules of the package that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "matgl_fill":
            base = node.module.replace(".", "/")
            for alias in node.names:
                candidates = (f"{base}/{alias.name}.py", f"{base}/{alias.name}/__init__.py", f"{base}.py")
                found.add(next((c for c in candidates if c in MODULES), f"{base}/__init__.py"))
        elif isinstance(node, ast.Import):
            found |= {f"{a.name.replace('.', '/')}.py" for a in node.names if a.name.startswith("matgl_fill.")}
    return found - {path}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Some circle of a graph; empty if there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(arrows.get(node, ())):
            if found := visit(other, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(arrows) if (found := visit(node, []))), [])


def room(path: str) -> str:
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else path


def test_few_modules_stand_at_the_root_and_each_is_an_entry_point():
    assert {p.name for p in PACKAGE.glob("*.py")} == {
        "__init__.py", "__main__.py", "errors.py", "pipeline.py", "testing.py",
    }  # fmt: skip


def test_rooms_are_those_that_contributing_lists_and_import_only_from_below():
    listed = re.findall(r"^\| (`.+?`) \| .+ \|$", CONTRIBUTING.split("## The house")[1].split("##")[0], re.M)
    order = [name.strip("`") for row in listed for name in row.split(", ")]
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert rooms | {"pipeline.py", "errors.py"} == set(order)
    level = {name.removesuffix(".py"): k for k, name in enumerate(order)}
    for path, tree in MODULES.items():
        here = Path(room(path)).stem
        for other in imported(path, tree):
            there = Path(room(other)).stem
            if here in level and there in level and here != there:
                assert level[here] < level[there] or {here, there} == {"utils", "errors"}, f"{path} imports {other}"


def test_modules_import_each_other_in_no_circle():
    """Imports inside functions and for type checkers count."""
    assert circle({path: imported(path, tree) for path, tree in MODULES.items()}) == []


def test_no_public_name_of_the_package_hides_a_room():
    for name in mf.__all__:
        assert not (PACKAGE / name).exists()
        assert not (PACKAGE / f"{name}.py").exists()


def test_modules_and_functions_can_be_read():
    for path, tree in MODULES.items():
        lines = (ROOT / path).read_text().count("\n")
        assert lines <= 400, f"{path}: {lines} lines"
        for name, function in functions(tree):
            assert code_lines(function) <= 60, f"{path}: {name} has {code_lines(function)} lines"
            if name not in PUBLIC and not path.startswith("matgl_fill/cli/"):
                assert arguments(function) <= 7, f"{path}: {name} has {arguments(function)} arguments"


def test_no_test_imports_from_another():
    for path in [*ROOT.glob("tests/**/*.py"), *ROOT.glob("examples/**/tests/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            assert not [n for n in names if n.split(".")[-1].startswith(("test_", "conftest"))], path


def test_the_way_through_fill_tune_is_as_contributing_tells():
    rows = re.findall(r"^\| (\d+) \| `(.+?)` \| `(.+?)` \|", CONTRIBUTING, re.M)
    told = [(f"matgl_fill/{file}", name) for _, file, name in rows]
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) <= 15
    for file, name in told:
        assert name in dict(functions(MODULES[file])), f"no {name} in {file}"
    called = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            where = Path(frame.f_code.co_filename).relative_to(ROOT).as_posix(), frame.f_code.co_qualname
            if where in told and where not in called:
                called.append(where)

    settings = {"steps": 1, "copies": 0, "enlarge_pool": 0, "replay_size": 20, "align_size": 10}
    pool = mf.read_structures(PACKAGE / "structures" / "assets" / "crystals_pool.jsonl.gz").subset(range(60))
    model, oracle = mf.load_model("default"), LennardJones(sigma=2.2, epsilon=0.5, rc=6.0, smooth=True)
    sys.setprofile(note)
    try:
        mf.fill_tune(model, pool, n=2, oracle=oracle, config=settings)
    finally:
        sys.setprofile(None)
    assert called == told


@pytest.mark.parametrize("row", re.findall(r"^\| (?:a|an) .*\|$", CONTRIBUTING, re.M))
def test_what_is_added_where_is_there(row):
    """Files that the table of additions names, but those that are to be written."""
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|toml)|[a-z_]+/(?:[a-z_]+/)*)`", row)
    assert named
    for name in named:
        assert any((base / name).exists() for base in (PACKAGE, ROOT)), name
