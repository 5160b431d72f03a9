"""Files of a pretrained model by its name on the Hugging Face Hub, and why there are none."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matgl.utils.io
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import logging as client

from matgl_fill.errors import ModelError
from matgl_fill.structures.bundled import MODELS

TIMEOUT = 10
"""Seconds after which the hub is not reached."""
ALIKE = 0.8
"""Least likeness, by difflib, of a name that is taken for a misspelt one."""
WAY_OUT = (
    "Give the model's folder (with model.pt, state.pt and model.json), 'default', 'potential', or a name on the hub."
)


def files_on_hub(name: str, files: tuple[str, ...]) -> dict[str, Path]:
    """Download a model's files, or take those of an earlier download where the hub cannot be reached.

    The hub is asked once before MatGL asks it, which tries for a minute where there is no network.

    Args:
        name: Name of a pretrained model, with or without its owner.
        files: Names of its files.

    Raises:
        ModelError: The name is a misspelt one of the package's own, the hub is not reached, or it gives no such model.
    """
    if close := difflib.get_close_matches(name, MODELS, n=1, cutoff=ALIKE):
        raise ModelError(f"there is no model '{name}'; did you mean '{close[0]}'?")
    repository = name if "/" in name else f"{matgl.utils.io.HF_MATGL_ORG}/{name}"
    with _quiet():
        try:
            HfApi().model_info(repository, timeout=TIMEOUT)
        except HfHubHTTPError:
            pass  # reached: what it says of the files is told below
        except HFValidationError as err:
            raise ModelError(_unknown(name, err)) from err
        except Exception as err:  # the hub's client raises errors of many kinds
            return _downloaded(name, repository, files, err)
        try:
            found = matgl.utils.io._get_file_paths(Path(name), str_path=name)
        except Exception as err:
            raise ModelError(_unknown(name, err)) from err
    return {file: Path(found[file]) for file in files}


def _downloaded(name: str, repository: str, files: tuple[str, ...], fault: Exception) -> dict[str, Path]:
    """Files that were downloaded earlier.

    Raises:
        ModelError: There are none.
    """
    cache = str(matgl.utils.io.MATGL_CACHE)
    try:
        return {file: Path(hf_hub_download(repository, file, cache_dir=cache, local_files_only=True)) for file in files}
    except Exception as err:
        raise ModelError(
            f"there is no folder '{name}', and the Hugging Face Hub, where a model of that name may be, cannot be "
            f"reached ({_line(fault)}). Give the model's folder, or 'default' or 'potential'."
        ) from err


def _unknown(name: str, fault: Exception) -> str:
    return f"there is no folder '{name}', and the hub gives no model of that name: {_line(fault)} {WAY_OUT}"


def _line(fault: Exception) -> str:
    return " ".join(str(fault).split())[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the hub's client from logging its attempts: an error says what came of them."""
    before = client.get_verbosity()
    client.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        client.set_verbosity(before)
