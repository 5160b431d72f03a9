from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from rich.console import Console

import matgl_fill as mf
from matgl_fill.errors import InputError, MatglFillWarning
from matgl_fill.evaluation import Task, compare, make_task, read_tasks, usable_tasks
from matgl_fill.evaluation.probes import PROBES, cross_validated_mae, folds, kernel_ridge, mlp, ridge
from matgl_fill.evaluation.scores import remark_on_one_value, score_embedding
from matgl_fill.structures import bundled, write_structures


def toy(n: int = 200, d: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    return X, X @ np.arange(1.0, d + 1)


def task_of(name: str, y: np.ndarray) -> Task:
    return Task(name, "eV", [None] * len(y), y, np.arange(len(y)).astype(str))


def test_a_task_that_one_value_predicts_better_is_told():
    X, y = toy(100)
    rare = np.where(np.arange(100) % 20 == 0, 5.0, 0.0)  # the median, 0, errs by 0.25; a mean by twice that
    scores = [score_embedding(X, task, seeds=2) for task in (task_of("line", y), task_of("rare", rare))]
    assert scores[0].mean < 0.5 * scores[0].one_value
    assert scores[0].one_value == pytest.approx(np.abs(y - np.median(y)).mean(), rel=0.05)
    assert scores[1].one_value == pytest.approx(0.25)
    console = Console(width=200)
    with console.capture() as shown:
        console.print(compare(scores, scores))
    assert "errs less on rare than the probes do" in " ".join(shown.get().split())
    assert not remark_on_one_value([("line", scores[0].mean, scores[0].one_value)])


def test_ridge_learns_a_line_and_kernel_ridge_a_curve():
    X, y = toy()
    assert np.abs(ridge(X[:150], y[:150], X[150:]) - y[150:]).mean() < 1e-2
    curve = np.sin(2 * X[:, 0])
    linear = np.abs(ridge(X[:150], curve[:150], X[150:]) - curve[150:]).mean()
    kernel = np.abs(kernel_ridge(X[:150], curve[:150], X[150:]) - curve[150:]).mean()
    assert kernel < 0.7 * linear


def test_the_network_learns_a_line_and_a_curve():
    X, y = toy(1000)
    for target in (y, np.abs(X[:, 0])):
        assert np.abs(mlp(X[:800], target[:800], X[800:]) - target[800:]).mean() < 0.2 * target.std()


def test_kernel_ridge_of_several_properties_is_that_of_each():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    Y = np.column_stack([np.sin(X[:, 0]), X[:, 1] + rng.normal(size=60)])
    together = kernel_ridge(X[:50], Y[:50], X[50:])
    np.testing.assert_array_equal(together, np.column_stack([kernel_ridge(X[:50], y, X[50:]) for y in Y[:50].T]))


def test_kernel_ridge_of_crystals_that_are_all_the_same_is_their_mean():
    np.testing.assert_allclose(kernel_ridge(np.zeros((6, 3)), np.arange(6.0), np.zeros((2, 3))), 2.5)


def test_kernel_ridge_leave_one_out_picks_what_brute_force_picks():
    """The prediction is that of one of the grid's settings, and no other setting has a lower leave-one-out error."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import LeaveOneOut, cross_val_predict

    from matgl_fill.evaluation.probes import KERNEL_ALPHAS, KERNEL_WIDTHS, _squared_distances

    X, y = toy(40, 3)
    y = np.sin(y)
    median = np.median(_squared_distances(X, X)[np.triu_indices(40, 1)])
    best = (np.inf, None)
    for width in KERNEL_WIDTHS:
        for alpha in KERNEL_ALPHAS:
            model = KernelRidge(alpha=alpha, kernel="rbf", gamma=1 / (2 * median * width**2))
            error = np.abs(cross_val_predict(model, X, y - y.mean(), cv=LeaveOneOut()) - (y - y.mean())).mean()
            if error < best[0]:
                best = (error, model.fit(X, y - y.mean()).predict(X[:7]) + y.mean())
    np.testing.assert_allclose(kernel_ridge(X, y, X[:7]), best[1], atol=1e-6)


def test_folds_never_split_a_formula():
    groups = np.random.default_rng(0).integers(0, 30, 200)
    seen = []
    for train, test in folds(groups, 0):
        assert not set(groups[train]) & set(groups[test])
        seen.extend(test)
    assert sorted(seen) == list(range(200))


def test_mae_is_blind_to_scale_and_shift_of_the_embedding():
    X, y = toy(120)
    groups = np.arange(120)
    a = cross_validated_mae(X, y, groups, 0)
    b = cross_validated_mae(X * 7 - 3, y, groups, 0)
    assert a == pytest.approx(b, rel=1e-6)


def test_compare_signs_and_size():
    X, y = toy()
    noise = np.random.default_rng(1).normal(size=X.shape)
    task = Task("toy", "eV", [None] * len(y), y, np.arange(len(y)))
    noisy, clean = (score_embedding(Z, task, seeds=3) for Z in (X + noise, X))
    better = compare([noisy], [clean])
    assert better.worst.change_percent > 50
    assert compare([noisy], [noisy]).mean == 0.0
    assert better.changes[0].low <= better.mean <= better.changes[0].high
    assert set(better.changes[0].probes) == set(PROBES)
    with pytest.raises(InputError, match="different tasks"):
        compare([noisy], [])


def test_bundled_tasks_are_three_labels_and_not_the_training_target(model):
    tasks = read_tasks(bundled.EVALUATION, bundled.TASKS)
    assert len(tasks) == 3
    assert not any("formation" in t.name for t in tasks)
    assert all(len(t) >= 250 for t in tasks)
    scores = mf.evaluate(model, tasks, seeds=1)
    for task, score in zip(tasks, scores, strict=True):
        guess = np.abs(task.y - np.median(task.y)).mean()
        assert min(float(v.mean()) for v in score.mae.values()) < 0.8 * guess


def test_bundled_pool_and_tasks_share_no_formula():
    pool = bundled.bundled_pool(mf.load_model(bundled.MODEL).element_types)
    tasks = mf.read_structures(bundled.EVALUATION)
    assert not set(pool.formulas) & set(tasks.formulas)
    assert len({e.symbol for s in pool for e in s.elements}) >= 40


def test_heavy_tails_are_taken_in_logarithm_with_unit(crystals):
    y = np.exp(np.random.default_rng(0).normal(0, 2, 300))
    task = make_task("bulk_modulus_GPa", crystals * 100, y)
    assert (task.name, task.unit) == ("log bulk modulus", "log10 GPa")
    np.testing.assert_allclose(task.y, np.log10(y))
    assert make_task("poisson_ratio", crystals * 100, np.linspace(0.1, 0.4, 300)).name == "poisson ratio"


def test_unknown_label_and_no_label_are_input_errors(crystals):
    with pytest.raises(InputError, match="no label \\['gap'\\]"):
        read_tasks(bundled.EVALUATION, ["gap"])
    with pytest.raises(InputError, match="no label with at least"):
        read_tasks(crystals)


def test_a_task_that_nothing_can_be_learnt_from_is_refused(model, pool):
    some = pool.structures[:60]
    same = make_task("gap", some, np.zeros(60))
    with pytest.raises(InputError, match="task 'gap' has the same value everywhere"):
        mf.evaluate(model, [same])
    one = make_task("gap", some[:1] * 60, np.arange(60.0))
    with pytest.raises(InputError, match="task 'gap' has 1 formula, fewer than the 5 folds"):
        mf.evaluate(model, [one])


def test_a_constant_column_of_a_file_is_no_task_and_said_so(pool, tmp_path):
    labels = {"gap": np.linspace(0, 3, 60), "constant": np.ones(60)}
    write_structures(
        pool.structures[:60],
        tmp_path / "t.extxyz",
        info=[{k: float(v[i]) for k, v in labels.items()} for i in range(60)],
    )
    with pytest.warns(MatglFillWarning, match="label 'constant' is not evaluated: it has the same value"):
        assert [t.name for t in read_tasks(tmp_path / "t.extxyz")] == ["gap"]
    with pytest.raises(InputError, match="task 'constant' has the same value everywhere"):
        read_tasks(tmp_path / "t.extxyz", ["constant"])


def test_crystals_that_the_model_cannot_take_leave_the_task(model, pool):
    known = pool.structures[:60]
    task = make_task("gap", [*known, Structure(Lattice.cubic(3), ["Og"], [[0, 0, 0]])], np.linspace(0, 3, 61))
    with pytest.warns(MatglFillWarning, match=r"1 crystal left out .* Og1: element Og is unknown"):
        left = mf.evaluate(model, [task], seeds=1)
    without = mf.evaluate(model, [task.subset(range(60))], seeds=1)
    assert (left[0].n, left[0].mean) == (60, without[0].mean)
    with pytest.raises(InputError, match="different tasks or crystals"):
        mf.compare(left, [replace(left[0], n=61)])
    tasks, skipped = usable_tasks(mf.get_adapter(model), [task])
    assert list(tasks[0].structures) == known
    np.testing.assert_array_equal(tasks[0].y, task.y[:60])
    assert [(s.where, s.reason) for s in skipped] == [("task 'gap', Og1", "element Og is unknown to the model")]


def test_a_labelled_crystal_that_cannot_be_read_is_told(pool):
    good = [{"structure": s.as_dict(), "gap": k / 10} for k, s in enumerate(pool.structures[:60])]
    with pytest.warns(MatglFillWarning, match=r"1 crystal left out of the tasks; first: 60: "):
        assert len(read_tasks([*good, {"structure": {}, "gap": 1.0}])[0]) == 60


def test_few_values_and_text_are_no_task_and_said_so(pool):
    rows = [{"structure": s.as_dict(), "gap": k / 10} for k, s in enumerate(pool.structures[:60])]
    for row in rows[:49]:
        row["few"] = row["gap"]
    with pytest.warns(MatglFillWarning, match="label 'few' is not evaluated: it has 49 values, and a task needs 50"):
        assert [t.name for t in read_tasks(rows)] == ["gap"]
    with pytest.raises(InputError, match="label 'few' has 49 values"):
        read_tasks(rows, ["gap", "few"])
    with pytest.raises(InputError, match="give one finite value for each"):
        make_task("gap", pool.structures[:60], ["1.0"] * 60)
    with pytest.raises(InputError, match="no label with at least 50 values in what was given"):
        read_tasks(pool)


def test_logarithms_are_named_so(crystals):
    task = make_task("log_bulk_GPa", crystals * 100, list(np.linspace(-1, 2, 300)))
    assert (task.name, task.unit) == ("log bulk", "log GPa")


def test_no_shuffle_at_all_is_refused(model):
    with pytest.raises(InputError, match="seeds is 0"):
        mf.evaluate(model, bundled.EVALUATION, seeds=0)
