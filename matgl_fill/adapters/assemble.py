"""A model from its checked files: classes by name from a list, weights by name, nothing missing and nothing left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from matgl_fill.adapters.classes import Entry, find_class
from matgl_fill.adapters.files import AGAIN, ModelFiles
from matgl_fill.adapters.settings import largest_size
from matgl_fill.errors import ModelError
from matgl_fill.utils.counting import counted
from matgl_fill.utils.modes import single_precision, usual_autograd

DERIVED = (".onehot",)
"""Endings of buffers that older files hold and MatGL now derives."""
ATTACHED = ("correction.", "tuned_branch.bounds")
"""Buffers that settings do not give; MatGL makes its own buffers from them where an older file has none."""
SPARE = 10**7
"""Numbers that building a model may take besides those that its weights take."""


@usual_autograd()
@single_precision()
def build_model(files: ModelFiles) -> nn.Module:
    """Build the model of checked files; no file is read again.

    Args:
        files: What :func:`matgl_fill.adapters.files.read_files` read.

    Returns:
        The model in training mode, as MatGL builds it.

    Raises:
        ModelError: The settings do not make a model, or the weights are not those of this model: one is missing, of
            another shape, or too many.
    """
    where = f"cannot load a MatGL model from '{files.source}'"
    try:
        limit = 8 * sum(tensor.numel() for tensor in files.state.values()) + SPARE
        with _Budget(limit) if largest_size(files.entry) > limit else nullcontext():
            model = _make(files.entry)
        found = model.load_state_dict(files.state, strict=False)
    except ModelError as err:
        raise ModelError(f"{where}: {err}") from err
    except Exception as err:  # a constructor may raise anything on settings that it does not expect
        reason = (str(err).strip().splitlines() or [""])[-1].strip() or type(err).__name__
        raise ModelError(f"{where}: its settings and weights do not fit each other: {reason}") from err
    weights = {name for name, _ in model.named_parameters()}
    missing = [k for k in found.missing_keys if k in weights or any(part in k for part in ATTACHED)]
    left = [key for key in found.unexpected_keys if not key.endswith(DERIVED)]
    if missing or left:
        unknown = f"holds {counted(len(left), 'tensor')} that the model does not have"
        what = f"lacks {counted(len(missing), 'tensor')} of the model" if missing else unknown
        raise ModelError(
            f"{where}: state.pt {what} (first: {(missing + left)[0]}); it is damaged, or an incompatible MatGL wrote "
            f"it. {AGAIN}"
        )
    return model


def _make(entry: Entry) -> Any:
    """Make an object of an entry's class; those among its arguments first."""
    args = {key: _make(value) if isinstance(value, Entry) else value for key, value in entry.args.items()}
    return find_class(entry.name, entry.module)(**args)


class _Budget(TorchFunctionMode):
    """Limit of the numbers that are made inside the block, so that no setting builds a model beyond its weights."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self._left = numbers

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self._left -= result.numel()
            if self._left < 0:
                raise ModelError(f"its settings describe a larger model than its weights are for. {AGAIN}")
        return result
