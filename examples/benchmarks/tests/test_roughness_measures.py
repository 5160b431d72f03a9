"""What roughness says about errors: its statistics, and its short form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from examples.benchmarks.roughness import measures as benchmark
from matgl_fill.adapters import get_adapter
from matgl_fill.embedding import prepare_pool
from matgl_fill.errors import InputError
from matgl_fill.roughness import measures
from matgl_fill.roughness.measures import MEANING
from matgl_fill.roughness.responses import NAMES
from matgl_fill.structures import bundled


def test_rank_correlation_is_spearmans_and_a_common_cause_explains_itself():
    rng = np.random.default_rng(0)
    cause, own, other = rng.normal(size=(3, 1, 4000))
    a, b = cause + own, np.exp(cause + other)
    assert benchmark.rank_correlation(a, b)[0] == pytest.approx(spearmanr(a[0], b[0]).statistic, abs=1e-12)
    assert benchmark.rank_correlation(a, b)[0] > 0.4
    assert abs(benchmark.rank_correlation(a, b, cause)[0]) < 0.06
    assert benchmark.rank_correlation(a, np.ones((1, 4000)))[0] == 0


def test_region_means_are_of_clusters():
    rng = np.random.default_rng(0)
    where = np.repeat(np.arange(40), 10)
    Z = 100 * rng.normal(size=(40, 3))[where] + rng.normal(size=(400, 3))
    means = benchmark.region_means(Z, np.stack([where, where**2]).astype(float))
    assert means.shape == (2, benchmark.REGIONS)
    assert (means[1] >= means[0] ** 2).all()


def test_spread_of_training_labels_around_a_crystal_tells_of_its_error(model, pool):
    """Short form of the evidence: the package's own model and crystals."""
    adapter = get_adapter(model)
    few = prepare_pool(adapter, pool.subset(range(60)))
    task = benchmark._drawn(f"{bundled.EVALUATION}:bulk_modulus_GPa", 250)
    rankings = {r.predictor: r for r in benchmark.rank_errors(adapter, few, benchmark.landscapes(adapter, few), [task])}
    value, low, _ = benchmark.interval(rankings[f"variance over neighbours, {benchmark.LABELS}"].by_task)
    assert value > low > 0
    assert not rankings[benchmark.DISTANCE].given_distance.any()
    assert {f"local roughness, {name}" for name in NAMES} < rankings.keys()


def test_commands_print_their_tables(capsys):
    pool, task = str(bundled.ASSETS / "crystals_pool.jsonl.gz"), f"{bundled.EVALUATION}:bulk_modulus_GPa:log"
    benchmark.errors(pool, [bundled.MODEL], [task], n=40, rows=80)
    assert "log bulk modulus" in capsys.readouterr().out
    benchmark.models(pool, [bundled.MODEL], n=40, bootstrap=5)
    text = capsys.readouterr().out
    for name in MEANING:
        assert text.count(name) >= (3 if name in measures.OF_RESPONSE else 1), name


def test_a_task_that_is_no_file_and_label_is_an_input_error():
    with pytest.raises(InputError, match="neither FILE:LABEL"):
        benchmark._drawn("crystals.jsonl", 10)
