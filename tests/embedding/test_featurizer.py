"""The transformer: what scikit-learn expects of one, and features that are those of embed, row for row."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import SAVED, fresh_tensornet, salt, same, weights
from numpy.testing import assert_array_equal
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

import matgl_fill as mf
from matgl_fill import FillFeaturizer
from matgl_fill.adapters.wrappers import copied, core_of
from matgl_fill.errors import InputError, MatglFillWarning, ModelError
from matgl_fill.structures.descriptors import names
from matgl_fill.testing import BATCHING, relative

FILLED = SAVED / "run" / "model"
FRANCIUM = Structure(Lattice.cubic(5), ["Fr"], [[0, 0, 0]])
ELEMENTS = ("Na", "K", "Rb", "Cs")


@pytest.fixture(scope="module")
def filled():
    return mf.load_model(FILLED)


@pytest.fixture(scope="module")
def some(pool):
    return pool.structures[:12]


class OfNumbers(FillFeaturizer):
    """The transformer for scikit-learn's own checks, which give rows of numbers: each row makes a rock salt."""

    def fit(self, X, y=None):
        return super().fit(_salts(validate_data(self, X, dtype=float)))

    def transform(self, X):
        check_is_fitted(self)
        return super().transform(_salts(validate_data(self, X, dtype=float, reset=False)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = False, True
        return tags


def _salts(X):
    """Rock salts whose lattice constant and cation the numbers of a row decide."""
    return [salt(5.6 + 0.5 * x, (ELEMENTS[int(abs(97 * x)) % 4], "Cl")) for x in np.tanh(X.sum(axis=1))]


UNTESTABLE = {
    "check_methods_subset_invariance": "float32: crystals of other batches differ by 1e-6, and the check allows 1e-7",
}


@parametrize_with_checks([OfNumbers(descriptors=False)], expected_failed_checks=lambda _: UNTESTABLE)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@parametrize_with_checks([FillFeaturizer()])
def test_scikit_learns_checks_of_what_takes_no_numbers(estimator, check):
    check(estimator)


def test_a_row_does_not_depend_on_the_other_rows(some):
    found = FillFeaturizer().fit(some)
    alone = np.vstack([found.transform([s]) for s in some])
    assert relative(alone, found.transform(some)) < BATCHING


@pytest.mark.parametrize("layers", ["last", "all"])
def test_features_are_those_of_embed(filled, some, layers):
    found = FillFeaturizer(filled, layers=layers).fit(some)
    Z = mf.embed(filled, some, layers=layers, descriptors=True)
    assert_array_equal(found.transform(some), Z.astype(float))
    assert len(found.get_feature_names_out()) == len(set(found.get_feature_names_out())) == Z.shape[1]


@pytest.mark.parametrize("layers", ["last", "all"])
def test_parts_are_the_original_model_and_the_branch(filled, some, layers):
    """The original's part is the embedding of the model without its branch; the tuned part is all else."""
    adapter = mf.get_adapter(filled)
    plain = copied(filled)
    core_of(plain).tuned_branch = None

    def part(*parts):
        return FillFeaturizer(filled, parts=parts, layers=layers, descriptors=False).fit_transform(some)

    assert relative(part("original"), mf.embed(plain, some, layers=layers)) < BATCHING
    whole = mf.embed(filled, some, layers=layers).astype(float)
    assert_array_equal(np.hstack([part("original"), part("tuned")]), whole)
    assert_array_equal(part("tuned", "original"), whole)
    if layers == "last":
        assert part("tuned").shape[1] == adapter.branch_dim


def test_descriptors_alone_need_no_model(some):
    found = FillFeaturizer("a model that does not exist", parts=()).fit(some)
    assert_array_equal(found.transform(some), mf.describe(some).astype(np.float32))
    assert found.get_feature_names_out().tolist() == names()


def test_several_models_are_joined_under_their_names(filled, some):
    torch.manual_seed(0)
    potential = fresh_tensornet()
    found = FillFeaturizer([FILLED, potential, "potential", filled, "default"], descriptors=False)
    X = found.set_output(transform="pandas").fit_transform(some)
    of_models = X.columns.str.split("_(?:original|tuned)_", regex=True).str[0]
    assert list(dict.fromkeys(of_models)) == ["run", "TensorNet", "potential", "MEGNet", "default"]
    assert_array_equal(X.loc[:, of_models == "TensorNet"], mf.embed(potential, some).astype(float))
    assert_array_equal(X.loc[:, of_models == "run"], X.loc[:, of_models == "MEGNet"])


def test_two_models_of_one_name_are_told_apart(model, filled, some):
    columns = FillFeaturizer([model, filled], descriptors=False).fit(some).get_feature_names_out()
    assert columns[0] == "MEGNet_original_0"
    assert columns[-1].startswith("MEGNet_2_tuned_")


def test_every_container_of_crystals_is_taken(some):
    found = FillFeaturizer().fit(some)
    expected = found.transform(some)
    series = pd.Series(some, index=[f"mp-{k}" for k in range(len(some))])
    array = np.empty(len(some), dtype=object)
    array[:] = some
    atoms = [AseAtomsAdaptor.get_atoms(s) for s in some]
    for X in (series, series.to_frame("structure"), array, array[:, None], tuple(some), mf.read_structures(some)):
        assert_array_equal(found.transform(X), expected)
    np.testing.assert_allclose(found.transform(atoms), expected, rtol=1e-4, atol=1e-4)
    table = clone(found).set_output(transform="pandas").fit_transform(series.to_frame("structure"))
    assert table.index.tolist() == series.index.tolist()
    assert_array_equal(table, expected)


def test_columns_of_a_table_are_transformed_beside_others(some):
    table = pd.DataFrame({"structure": some, "temperature": np.arange(12.0)})
    for column in ("structure", ["structure"]):
        both = ColumnTransformer([("crystal", FillFeaturizer(), column), ("rest", "passthrough", ["temperature"])])
        X = both.set_output(transform="pandas").fit_transform(table)
        assert_array_equal(X["rest__temperature"], table["temperature"])
        assert_array_equal(X.iloc[:, :-1], FillFeaturizer().fit_transform(some))


def test_a_search_over_parts_and_layers_computes_every_crystal_once(pool, tmp_path, monkeypatch):
    crystals = pool.structures[:40]
    y = np.array([s.volume / len(s) for s in crystals])
    work = make_pipeline(FillFeaturizer(FILLED, cache=tmp_path / "kept.sqlite"), StandardScaler(), Ridge())
    choices = {"parts": [("original",), ("tuned",), ("original", "tuned"), ()], "layers": ["last", "all"]}
    grid = {f"fillfeaturizer__{k}": v for k, v in choices.items()} | {"fillfeaturizer__descriptors": [True]}
    search = GridSearchCV(work, grid, cv=3, error_score="raise").fit(crystals, y)
    assert len(search.cv_results_["params"]) == 8
    assert len(set(search.cv_results_["mean_test_score"].round(6))) == 7  # layers do not matter without parts
    assert search.best_estimator_.predict(crystals).shape == (40,)

    def fail(*_):
        raise AssertionError("was computed before")

    monkeypatch.setattr("matgl_fill.embedding.embed.Reading.__call__", fail)
    monkeypatch.setattr(
        "matgl_fill.embedding.embed.describe_structures", lambda s: np.empty((len(s), 73)) if not s else fail()
    )
    assert_array_equal(search.predict(crystals), search.predict(crystals))
    work.set_params(**search.best_params_).fit(crystals, y)


def test_processes_give_the_same_scores(pool, filled):
    crystals = pool.structures[:30]
    y = np.array([s.volume / len(s) for s in crystals])
    work = make_pipeline(FillFeaturizer(filled), StandardScaler(), Ridge())
    here = cross_val_score(work, crystals, y, cv=2)
    assert_array_equal(cross_val_score(work, crystals, y, cv=2, n_jobs=2), here)


@pytest.mark.parametrize("given", ["default", str(FILLED), "object"])
def test_a_pickle_gives_the_same_features_without_the_files(given, filled, some, tmp_path):
    filled.predict_structure(some[0])  # leaves features with a graph in the model
    found = FillFeaturizer(filled if given == "object" else given).set_output(transform="pandas").fit(some)
    expected = found.transform(some)
    again = pickle.loads(pickle.dumps(found))
    joblib.dump(found, tmp_path / "kept.joblib")
    for twin in (again, joblib.load(tmp_path / "kept.joblib")):
        pd.testing.assert_frame_equal(twin.transform(some), expected)


def test_models_of_the_user_are_never_changed(filled, some):
    """Nor do the features follow what becomes of them after fit."""
    before = weights(filled)
    found = FillFeaturizer(filled, device="cpu").fit(some)
    expected = found.transform(some)
    assert same(before, weights(filled))
    twin = clone(found)
    assert twin.model is filled
    with torch.no_grad():
        for p in filled.parameters():
            p += 1
    try:
        assert_array_equal(found.transform(some), expected)
        assert not np.array_equal(twin.fit_transform(some), expected)
    finally:
        filled.load_state_dict(before)


def test_clone_keeps_options_and_the_container(filled, some):
    filled.predict_structure(some[0])
    found = FillFeaturizer(filled, parts=("tuned",), layers="all").set_output(transform="pandas").fit(some)
    twin = clone(found)
    assert twin.get_params() == found.get_params()
    with pytest.raises(NotFittedError):
        twin.transform(some)
    assert isinstance(twin.fit_transform(some), pd.DataFrame)


BAD = [FRANCIUM, None, "mp-1.cif", Structure(Lattice.cubic(5), ["Na", "Na"], [[0, 0, 0], [0.01, 0, 0]])]
REASONS = ("row 2: element Fr is unknown", "row 3: not a structure but NoneType", "row 4: not a structure but str")


def test_crystals_that_cannot_be_used_are_an_error(some):
    found = FillFeaturizer().fit(some)
    with pytest.raises(InputError, match=r"row 2: .*; row 3: .*; row 4: .* \(and 1 more\); remove") as error:
        found.transform([*some[:2], *BAD, *some[2:4]])
    assert all(reason in str(error.value) for reason in REASONS)


def test_rows_stay_aligned_where_nan_is_asked_for(some):
    found = FillFeaturizer([FILLED, "default"], on_error="nan").fit(some)
    with pytest.warns(MatglFillWarning, match=r"4 of 8 rows are NaN: row 2: .* \(and 1 more\)") as caught:
        X = found.transform([*some[:2], *BAD, *some[2:4]])
    assert all(reason in str(caught[0].message) for reason in REASONS)
    assert np.isnan(X[2:6]).all()
    np.testing.assert_allclose(X[[0, 1, 6, 7]], found.transform(some[:4]), rtol=1e-5, atol=1e-5)
    with pytest.warns(MatglFillWarning, match="4 of 4 rows are NaN"):
        assert np.isnan(found.transform(BAD)).all()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((3, 5)), r"X has the shape \(3, 5\), and a row has to be one crystal"),
        (pd.DataFrame({"structure": [salt()], "gap": [1.0]}), r"2 columns \(structure, gap\)"),
        (salt(), "X is one Structure; give a list"),
        (AseAtomsAdaptor.get_atoms(salt()), "X is one .*Atoms; give a list"),
        ("crystals.jsonl", "X is of type str"),
        ((s for s in [salt()]), "X is of type generator"),
        ({"a": salt()}, "X is of type dict"),
        ([], "X holds no crystal"),
        (None, "X is of type NoneType"),
    ],
)
def test_what_is_no_list_of_crystals_is_refused(X, message):
    with pytest.raises(InputError, match=message):
        FillFeaturizer(parts=()).fit(X)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"parts": "tuned"}, InputError, "parts is 'tuned'; give some of"),
        ({"parts": ("side",)}, InputError, "parts is .'side',.; give some of"),
        ({"parts": ("tuned",)}, ModelError, "'default' has no tuned part"),
        ({"parts": (), "descriptors": False}, InputError, "leaves no feature"),
        ({"model": []}, InputError, "model is an empty list"),
        ({"layers": "first"}, InputError, "layers is 'first'; there are 'last', 'all'"),
        ({"on_error": "ignore"}, InputError, "on_error is 'ignore'; there are 'raise', 'nan'"),
        ({"device": "abacus"}, InputError, "device is 'abacus', which cannot be used"),
        ({"model": "no/such/model"}, ModelError, "no/such/model"),
    ],
)
def test_options_that_are_none_are_refused_by_fit(options, kind, message):
    with pytest.raises(kind, match=message):
        FillFeaturizer(**options).fit([salt()])
