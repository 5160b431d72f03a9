"""What must be there at once: help, the version, and the import of the package load neither PyTorch nor MatGL."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from typer.main import get_command

import matgl_fill as mf
from matgl_fill.cli import app, checking
from matgl_fill.evaluation.scores import SEEDS

HEAVY = ("torch", "matgl", "pymatgen", "sklearn", "scipy", "lightning", "matplotlib", "pyarrow")
COMMANDS = sorted(get_command(app).commands)


def loaded(code: str) -> tuple[set[str], str]:
    """Heavy packages that a fresh interpreter has loaded after some code, and what it printed before."""
    code += f"\nimport sys\nprint('LOADED', *[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    printed, _, names = run.stdout.rpartition("LOADED")
    return set(names.split()), printed


def test_help_version_and_settings_load_nothing_heavy():
    calls = [["--help"], ["--version"], ["config"], *([name, "--help"] for name in COMMANDS)]
    code = "from matgl_fill.cli import main\nimport sys\n"
    code += f"for call in {calls}:\n    sys.argv = ['matgl-fill', *call]\n    try:\n        main()\n"
    code += "    except SystemExit as end:\n        assert not end.code, call"
    heavy, printed = loaded(code)
    assert not heavy
    assert f"matgl-fill {mf.__version__}\n" in printed
    assert "[search]" in printed
    for name in COMMANDS:
        assert f"matgl-fill {name} [OPTIONS]" in printed


def test_the_package_is_imported_without_what_its_names_need():
    assert loaded("import matgl_fill\nassert 'fill_tune' in dir(matgl_fill)")[0] == set()
    assert "pymatgen" in loaded("from matgl_fill import read_structures")[0]


def test_every_public_name_is_there_and_is_imported_once():
    listed = [name for names in mf._PLACES.values() for name in names]
    assert sorted(listed) == sorted(mf.__all__)
    for name in mf.__all__:
        assert callable(getattr(mf, name))
        assert getattr(mf, name) is getattr(mf, name)
    star: dict[str, object] = {}
    exec("from matgl_fill import *", star)
    assert set(mf.__all__) <= set(star)


@pytest.mark.parametrize("room", ["roughness", "errors", "training", "testing"])
def test_modules_are_there_without_an_import_of_their_own(room):
    code = f"import matgl_fill as mf\nassert mf.{room}.__name__ == 'matgl_fill.{room}'"
    loaded(code)


def test_an_unknown_name_is_an_attribute_error():
    for name in ("nothing", "_nothing", "__wrapped__"):
        assert not hasattr(mf, name)


def test_the_help_shows_the_default_of_the_library():
    assert inspect.signature(checking.evaluate).parameters["seeds"].default == SEEDS
