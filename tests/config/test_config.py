"""Settings: what is decided for a model, and what is refused."""

from __future__ import annotations

import pytest

import matgl_fill as mf
from matgl_fill.config import FillConfig
from matgl_fill.errors import InputError


def test_what_is_left_open_depends_on_form_and_kind_of_model():
    """A branch that is attached to the original is free; weights that replace it are held."""
    added, overwritten = ({"steps": 400, "lr": 8e-3, "replay_batch": 16} for _ in range(2))
    added |= {"oracle_weight": 0.1, "response_weight": 0.3, "pool_descriptor_weight": 1.0}
    added |= {"replay_weight": 0.0, "prediction_weight": 0.1}
    overwritten |= {"oracle_weight": 1.0, "response_weight": 1.0, "pool_descriptor_weight": 0.0}
    overwritten |= {"replay_weight": 10.0, "prediction_weight": 10.0}
    for form, is_potential, wanted in (
        ("add", False, added),
        ("add", True, added),
        ("overwrite", False, overwritten),
        ("overwrite", True, overwritten | {"lr": 2e-4}),
    ):
        found = FillConfig(form=form).resolved(is_potential, 16, 8e-3).training
        assert found.model_dump(include=set(wanted)) == wanted
        given = FillConfig(form=form, lr=0.5, replay_weight=2.0).resolved(is_potential, 16, 8e-3).training
        assert (given.lr, given.replay_weight) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"stepz": 1}, "no setting 'stepz'"),
        ({"lr": -1}, "lr = -1: .*greater than or equal to 0"),
        ({"choice": "best"}, "choice = 'best'"),
        ({"max_force_drift": float("inf")}, "max_force_drift = inf: .*finite"),
        ({"max_energy_shift": True}, "max_energy_shift = True: .*not true or false"),
        ({"steps": True}, "steps = True: .*not true or false"),
        ("missing.toml", "no config file"),
    ],
)
def test_bad_config_is_an_input_error(config, message):
    with pytest.raises(InputError, match=message):
        FillConfig.make(config)


@pytest.mark.parametrize("function", [mf.fill_tune, mf.propose])
def test_a_setting_among_the_arguments_is_told_where_it_belongs(function):
    with pytest.raises(InputError, match=r"lr, steps: settings go into config; give config=\{'lr': 0.1, 'steps': 5\}"):
        function("default", steps=5, lr=0.1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepps'"):
        function("default", stepps=5)


def test_config_from_toml_is_the_same_as_from_python(tmp_path):
    (tmp_path / "c.toml").write_text('steps = 7\nchoice = "random"\n')
    assert FillConfig.make(tmp_path / "c.toml") == FillConfig(steps=7, choice="random")
