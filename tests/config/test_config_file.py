from __future__ import annotations

import json
import tomllib

import pytest
import yaml

from matgl_fill.config import FillConfig, settings_toml
from matgl_fill.errors import InputError


def test_printed_defaults_are_the_defaults_and_explain_every_field(tmp_path):
    text = settings_toml(FillConfig())
    assert FillConfig(**tomllib.loads(text)) == FillConfig()
    groups = {name: getattr(FillConfig(), name) for name in FillConfig.model_fields}
    assert set(tomllib.loads(text)) == set(groups) == {"search", "training", "guard"}
    fields = {name: field for group in groups.values() for name, field in type(group).model_fields.items()}
    assert len(fields) == sum(len(type(group).model_fields) for group in groups.values()) == 39
    for name, field in fields.items():
        block = next(b for b in text.split("\n\n") if f"\n{name} = " in b or f"\n# {name} = " in b)
        meaning = " ".join(field.description.replace("``", "").split())
        assert meaning in " ".join(block.replace("#", " ").split())
    assert max(map(len, text.splitlines())) <= 100
    (tmp_path / "defaults.toml").write_text(text)
    assert FillConfig.make(tmp_path / "defaults.toml") == FillConfig()


def test_toml_yaml_dictionary_and_python_give_one_config(tmp_path):
    changes = {"steps": 7, "lr": 1e-4, "form": "overwrite", "max_energy_shift": 0.0}
    config = FillConfig(training={"steps": 7, "lr": 1e-4, "form": "overwrite"}, guard={"max_energy_shift": 0.0})
    assert FillConfig(**changes) == config
    (tmp_path / "a.toml").write_text(settings_toml(config))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(changes))
    (tmp_path / "a.yml").write_text(json.dumps(changes))
    found = [FillConfig.make(tmp_path / name) for name in ("a.toml", "a.yaml", "a.yml")]
    assert [*found, FillConfig.make(changes)] == [config] * 4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "step = 3", "no setting 'step'; did you mean 'steps'?"),
        ("a.yaml", "zzz: red", "no setting 'zzz'; there are choice, neighbours, exclude_elements,"),
        ("a.yaml", "1: 2", "no setting '1'"),
        ("a.toml", "steps = -1", "steps = -1: Input should be greater than or equal to 0"),
        (
            "a.yaml",
            "choice: smooth",
            "choice = 'smooth': Input should be 'roughness', 'random', 'farthest' or 'dissimilar'",
        ),
        ("a.toml", "[training]\nstepz = 3", "no setting 'stepz'; did you mean 'steps'?"),
        ("a.toml", "steps = 3\n[training]\nsteps = 4", "steps is given twice, in 'training' and outside of it"),
        ("a.toml", "guard = 3", "guard = 3: Input should be a valid dictionary"),
        ("a.toml", "steps = ", "cannot be read"),
        ("a.yaml", "steps: [", "cannot be read"),
        ("a.yaml", "- 3", "holds no settings"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", "cannot be read"),
        ("a.ini", "steps = 3", "neither .toml nor .yaml"),
        ("a.toml", b"\xff\xfe", "cannot be read"),
    ],
)
def test_files_that_cannot_be_used_say_what_to_change(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        FillConfig.make(tmp_path / name)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(InputError, match="matgl-fill config --write FILE"):
        FillConfig.make(tmp_path / "none.toml")
