"""What is published: a wheel with all that the package needs, one version, and advice that names extras there are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import matgl_fill as mf

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "matgl_fill"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the sources, for building leaves files beside them; nothing is downloaded."""
    if tuple(map(int, version("setuptools").split(".")[:1])) < (77,):
        pytest.skip("needs setuptools 77 to build a wheel without downloading it")
    folder = tmp_path_factory.mktemp("dist")
    shutil.copytree(PACKAGE, folder / "source/matgl_fill", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder]
    done = subprocess.run([*command, folder / "source"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel):
    files = (p.relative_to(ROOT) for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    assert {str(p) for p in files} == {name for name in wheel.namelist() if ".dist-info/" not in name}


def test_there_is_one_version(metadata):
    assert "version" not in PROJECT
    assert mf.__version__ == metadata["Version"] == yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert f"## {mf.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_who_looks_for_it_finds_what_it_is(metadata):
    assert metadata["License-Expression"] == yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL"))
    assert all(url.startswith("https://") for url in urls.values())


def test_advice_names_extras_that_there_are():
    said = [
        (path.name, extra)
        for path in (
            *PACKAGE.rglob("*.py"),
            ROOT / "README.md",
            *(ROOT / "docs").rglob("*.md"),
            *ROOT.glob("examples/*.py"),
        )
        for extra in re.findall(r"(?:matgl_fill|\.)\[(\w+)\]['\"`]", path.read_text(encoding="utf-8"))
    ]
    assert len(said) > 10
    assert {extra for _, extra in said} <= set(PROJECT["optional-dependencies"])
