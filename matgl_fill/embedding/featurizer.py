"""Crystals to features as a transformer of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from pymatgen.core import Structure
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from matgl_fill.adapters import get_adapter, load_model
from matgl_fill.adapters.batching import probe_crystal
from matgl_fill.adapters.wrappers import copied, on_device
from matgl_fill.embedding.embed import Layers, described, embed, opened
from matgl_fill.embedding.usable import usable_crystals
from matgl_fill.errors import InputError, MatglFillWarning, ModelError
from matgl_fill.structures import Skipped, StructureSet, first_of, read_each, unique
from matgl_fill.structures.containers import is_crystal
from matgl_fill.structures.descriptors import names as descriptor_names

Model = str | Path | nn.Module
Part = Literal["original", "tuned"]
OnError = Literal["raise", "nan"]


@dataclass(frozen=True, eq=False)
class _Source:
    """A model whose embedding gives some of the features.

    Attributes:
        model: The model, in no other hands.
        columns: Columns (k,) of its embedding that are used.
        names: The k names of the features.
    """

    model: nn.Module
    columns: np.ndarray
    names: list[str]


class FillFeaturizer(TransformerMixin, BaseEstimator):
    """Transformer of scikit-learn that turns crystals into the features of pretrained MatGL models.

    It learns nothing from crystals or labels: ``fit`` loads the models and finds the names of the features. A scaler
    belongs behind it in a pipeline. The crystals may be a list, an array or a series of pymatgen ``Structure``,
    ``ase.Atoms`` or whatever else is one crystal to :func:`matgl_fill.read_structures`, or a table with one such
    column; they may not be files, because a file may hold several.

    Args:
        model: Directory or hub name of a MatGL model, ``"default"`` or ``"potential"`` for the bundled ones, or a model
            that is loaded; or a list of several, whose features are put side by side. A property model and a potential
            know different things.
        parts: Parts of a model's embedding that are used: ``"original"``, and ``"tuned"`` for what fill-tuning
            attached. A model that was not filled has no tuned part. Without any part the descriptors alone are left,
            against which a model should be compared.
        layers: Embedding after the last block, or ``"all"`` for the atoms' features after every block, their mean.
        descriptors: Whether the columns of :func:`matgl_fill.describe` are appended.
        cache: SQLite file in which embeddings and descriptors are kept, so that a search over folds and settings
            computes every crystal once. Processes may share it.
        device: Device on which crystals are embedded; by default the one that a model is on.
        on_error: What becomes of a crystal that cannot be used: ``"raise"`` raises an error, ``"nan"`` makes its row
            NaN, with a warning that says which and why. Many regressors refuse NaN, and some, such as a random forest,
            learn from it.

    Attributes:
        n_features_out_: Number k of features.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import RidgeCV
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> import matgl_fill as mf
        >>> from matgl_fill.structures import bundled
        >>> crystals = mf.read_structures(bundled.EVALUATION).subset(range(60))
        >>> volumes = crystals.labels["volume_per_atom_A3"]
        >>> ridge = make_pipeline(mf.FillFeaturizer("default"), StandardScaler(), RidgeCV(np.logspace(-2, 5, 15)))
        >>> ridge.fit(crystals.structures[:50], volumes[:50]).score(crystals.structures[50:], volumes[50:]) > 0.8
        True
        >>> ridge[0].get_feature_names_out()[[0, -1]].tolist()
        ['default_original_0', 'p(cos=+1.0)']
    """

    def __init__(
        self,
        model: Model | Sequence[Model] = "default",
        *,
        parts: Sequence[Part] = ("original", "tuned"),
        layers: Layers = "last",
        descriptors: bool = True,
        cache: str | Path | None = None,
        device: str | torch.device | None = None,
        on_error: OnError = "raise",
    ) -> None:
        self.model = model
        self.parts = parts
        self.layers = layers
        self.descriptors = descriptors
        self.cache = cache
        self.device = device
        self.on_error = on_error

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Load the models and find the names of the features; crystals are not read, and labels not looked at.

        A model that was given as an object is copied: what becomes of it later does not change the features.

        Args:
            X: The n crystals.
            y: Ignored.

        Raises:
            InputError: ``X`` is no list of crystals, or an option is none of its choices.
            ModelError: A model cannot be loaded, or has none of the parts.
        """
        _items(X)
        self._check_options()
        given = _listed(self.model)
        models = [self._loaded(one) for one in given] if self.parts else []
        names = unique([_name(one, model) for one, model in zip(given, models, strict=False)])
        self._sources = [self._source(name, model) for name, model in zip(names, models, strict=True)]
        features = [name for source in self._sources for name in source.names]
        self._features = features + (descriptor_names() if self.descriptors else [])
        self.n_features_out_ = len(self._features)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of crystals; before ``fit`` there is scikit-learn's ``NotFittedError``.

        Args:
            X: The n crystals.

        Returns:
            Features (n, k) in float64, named by :meth:`get_feature_names_out`; a table of them where ``set_output``
            asks for one.

        Raises:
            InputError: ``X`` is no list of crystals; or with ``on_error="raise"`` a crystal cannot be read, or holds an
                element that a model does not support.
        """
        check_is_fitted(self)
        items = _items(X)
        crystals, unusable = self._read(items)
        if unusable:
            self._tell(unusable, len(items))
        features = np.full((len(items), self.n_features_out_), np.nan)
        if crystals:
            features[list(crystals)] = self._features_of(list(crystals.values()))
        return features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002
        """Names (k,) of the features: the model's, the part's and a number, such as ``MEGNet_tuned_0``.

        Those of descriptors are the names of :func:`matgl_fill.structures.descriptors.names`. With ``layers="all"`` the
        names say so, because they are other features. Before ``fit`` there is scikit-learn's ``NotFittedError``.

        Args:
            input_features: Ignored; the features do not depend on the name of the column of crystals.
        """
        check_is_fitted(self)
        return np.array(self._features, dtype=object)

    def _check_options(self) -> None:
        """Refuse options that are none of their choices, or that leave no feature."""
        if isinstance(self.parts, str) or not set(self.parts) <= set(get_args(Part)):
            raise InputError(f"parts is {self.parts!r}; give some of {get_args(Part)} in a tuple.")
        for name, choices in (("layers", get_args(Layers)), ("on_error", get_args(OnError))):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}; there are {', '.join(map(repr, choices))}.")
        if not self.parts and not self.descriptors:
            raise InputError("parts is empty and descriptors is False, which leaves no feature; give one of them.")
        if self.parts and isinstance(self.model, list | tuple) and not self.model:
            raise InputError("model is an empty list; give a model, or parts=() for the descriptors alone.")

    def _loaded(self, given: Model) -> nn.Module:
        """A model that is in no other hands, on the device that was asked for."""
        model = copied(given) if isinstance(given, nn.Module) else load_model(given)
        return on_device(model, self.device)

    def _source(self, name: str, model: nn.Module) -> _Source:
        """The features that a model of that name gives, found by embedding a small crystal."""
        adapter = get_adapter(model)
        probe = probe_crystal(adapter.element_types[0], adapter.cutoff)
        width = embed(model, [probe], layers=self.layers).shape[1]
        filled = len(adapter.cores) > 1
        first = width if not filled else adapter.core_dim if self.layers == "last" else width // 2
        columns = {"original": np.arange(first), "tuned": np.arange(first, width)}
        used = [part for part in get_args(Part) if part in self.parts and len(columns[part])]
        if not used:
            raise ModelError(f"'{name}' has no tuned part; fill-tune it, or add 'original' to parts.")
        layers = "_layers" if self.layers == "all" else ""
        names = [f"{name}_{part}{layers}_{i}" for part in used for i in range(len(columns[part]))]
        return _Source(model, np.concatenate([columns[part] for part in used]), names)

    def _read(self, items: Sequence[Any]) -> tuple[dict[int, Structure], dict[int, str]]:
        """Crystals that all models can take, and why the others cannot be used, both by their rows."""
        crystals: dict[int, Structure] = {}
        unusable: dict[int, str] = {}
        for row, read in enumerate(read_each(items)):
            if isinstance(read, Skipped):
                unusable[row] = read.reason
            else:
                crystals[row] = read
        for source in self._sources:
            names, structures = list(map(str, crystals)), list(crystals.values())
            for skipped in usable_crystals(get_adapter(source.model), names, structures).skipped:
                unusable[int(skipped.where)] = skipped.reason
                del crystals[int(skipped.where)]
        return crystals, unusable

    def _tell(self, unusable: Mapping[int, str], n: int) -> None:
        """Raise an error about crystals that cannot be used, or warn of their rows."""
        which = first_of([f"row {row}: {reason}" for row, reason in sorted(unusable.items())])
        if self.on_error == "raise":
            raise InputError(f"{which}; remove what cannot be used, or give on_error='nan' for rows of NaN.")
        warnings.warn(f"{len(unusable)} of {n} rows are NaN: {which}.", MatglFillWarning, stacklevel=3)

    def _features_of(self, structures: list[Structure]) -> np.ndarray:
        """Features (n, k) of crystals that all models can take."""
        crystals = StructureSet(structures, [str(i) for i in range(len(structures))], {}, [])
        parts = [
            embed(source.model, crystals, layers=self.layers, cache=self.cache)[:, source.columns]
            for source in self._sources
        ]
        if self.descriptors:
            with opened(self.cache) as store:
                parts.append(described(structures, store))
        return np.hstack(parts).astype(np.float64)

    def __sklearn_clone__(self) -> Self:
        """Clone as scikit-learn does, but with the same model objects, which are never changed.

        What the last call of a MatGL model left in it cannot be copied, and a copy of every model for every fold takes
        memory for nothing.
        """
        bare = type(self)()
        bare.__dict__.update(self.__dict__)
        bare.model = "default"
        clone = super(FillFeaturizer, bare).__sklearn_clone__()
        clone.model = self.model
        return clone

    def __getstate__(self) -> dict[str, Any]:
        """State for pickle, without what the last calls of the models left in them."""
        state = dict(super().__getstate__())
        bare = [copied(m) if isinstance(m, nn.Module) else m for m in _listed(self.model)]
        state["model"] = bare if isinstance(self.model, list | tuple) else bare[0]
        if "_sources" in state:
            state["_sources"] = [replace(source, model=copied(source.model)) for source in self._sources]
        return state

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn should know: crystals are no table of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = True, False
        tags.transformer_tags.preserves_dtype = []
        return tags


def _listed(model: Model | Sequence[Model]) -> list[Model]:
    """The models that were given, as a list."""
    return [model] if isinstance(model, str | Path | nn.Module) else list(model)


def _name(given: Model, model: nn.Module) -> str:
    """Name of a model in those of its features: its folder's or hub's, or its architecture's."""
    if isinstance(given, nn.Module):
        return get_adapter(model).core_class.__name__
    path = Path(given)
    return path.parent.name if path.name == "model" and path.parent.name else path.name  # fill_tune writes OUT/model


def _items(X: Any) -> list[Any]:
    """The objects that are meant as one crystal each.

    Raises:
        InputError: ``X`` is no list of crystals, or an empty one.
    """
    if isinstance(X, StructureSet):
        X = X.structures
    if hasattr(X, "columns"):
        if len(X.columns) != 1:
            names = ", ".join(map(str, list(X.columns)[:6]))
            raise InputError(f"X is a table with {len(X.columns)} columns ({names}); give the one of the crystals.")
        X = X[X.columns[0]]
    elif is_crystal(X):
        raise InputError(f"X is one {type(X).__name__}; give a list of crystals.")
    if isinstance(X, str | bytes | Mapping) or not hasattr(X, "__len__") or not hasattr(X, "__iter__"):
        raise InputError(f"X is of type {type(X).__name__}; give a list of crystals, one for each row.")
    if hasattr(X, "shape") and X.shape[1:] not in ((), (1,)):
        raise InputError(
            f"X has the shape {X.shape}, and a row has to be one crystal; NumPy takes crystals apart into atoms, so "
            "give a list or a pandas Series of them."
        )
    items = list(X.ravel() if isinstance(X, np.ndarray) else X)
    if not items:
        raise InputError("X holds no crystal (0 samples); give at least one.")
    return items
