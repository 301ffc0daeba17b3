"""Configs: how they are changed, checked, compared and named."""

import json
import pathlib
import re

import pytest
from ml_collections import ConfigDict

from configs import common
from tl import config as configs
from tl.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / "configs").glob("*.py") if path.stem not in ("__init__", "common"))

SAMPLE = """
from ml_collections import ConfigDict

def get_config(arg):
    c = ConfigDict()
    c.data = "digits"
    c.steps = 10
    c.ema = 0.0
    c.smoke = arg.get("smoke") == "true"
    c.seeds = (0, 1)
    c.groups = ((".*", {}),)
    c.optim = {"name": "sgd", "momentum": 0.9}
    c.method_args = {}
    c.variants = {"one": {"steps": 1, "optim": {"momentum": 0.5}}}
    return c
"""


@pytest.fixture
def sample(tmp_path):
    """The path of a small config file."""
    path = tmp_path / "sample.py"
    path.write_text(SAMPLE)
    return str(path)


def refused(function, *args):
    with pytest.raises(InputError) as error:
        function(*args)
    return str(error.value)


# --- reading ------------------------------------------------------------------------------------------------


def test_a_class_may_have_a_dot_in_its_name():
    chosen = configs.load("configs/probe.py", {"graph.entities": "{'001.Black_footed_Albatross': '02058221'}"})
    again = configs.from_json(configs.to_json(configs.merged(chosen, {"seed": 1})))
    assert again.graph.entities.to_dict() == {"001.Black_footed_Albatross": "02058221"}


def test_argument_and_overrides_set_the_same_keys(sample):
    plain = configs.load(sample)
    assert (plain.steps, plain.data, plain.optim.momentum) == (10, "digits", 0.9)
    config = configs.load(f"{sample}:steps=20,data=folder:/a/b=c", {"optim.momentum": "0.5"})
    assert (config.steps, config.data, config.optim.momentum) == (20, "folder:/a/b=c", 0.5)


def test_the_file_sees_the_argument(sample):
    assert configs.load(f"{sample}:smoke=true").smoke
    assert not configs.load(sample).smoke


def test_an_override_wins_over_the_argument(sample):
    assert configs.load(f"{sample}:steps=20", {"steps": "30"}).steps == 30


def test_a_loaded_config_is_locked(sample):
    with pytest.raises(AttributeError):
        configs.load(sample).stepps = 3


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("7", "steps", 7),
        ("-1", "steps", -1),
        ("1e-3", "ema", 0.001),
        ("1", "ema", 1.0),
        ("true", "smoke", True),
        ("False", "smoke", False),
        ("(3, 4)", "seeds", (3, 4)),
        ("[3]", "seeds", (3,)),
        ("()", "seeds", ()),
        ("(('head', {'lr': 10.0}), ('.*', None))", "groups", (("head", {"lr": 10.0}), (".*", None))),
        ("7", "data", "7"),  # a key that holds a string takes the text as it is
        ("none", "data", "none"),
        ("", "data", ""),
        ("0.3", "method_args.mixup", 0.3),  # a free table takes new keys
        ("resnet", "method_args.teacher", "resnet"),
        ("2", "variants.one.steps", 2),
    ],
)
def test_text_is_read_as_the_key_asks(sample, text, key, value):
    found = configs.load(sample, {key: text})
    for name in key.split("."):
        found = found[name]
    assert found == value
    assert type(found) is type(value)


def test_a_table_is_set_key_by_key(sample):
    config = configs.load(sample, {"optim": "{'momentum': 0}"})
    assert config.optim.to_dict() == {"name": "sgd", "momentum": 0.0}  # the name stays
    assert configs.load(sample, {"variants": "{}"}).variants.to_dict() == {}  # a free table is replaced


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("stepps", "3", ["unknown config key 'stepps'", "did you mean steps"]),
        ("optim.momentun", "3", ["unknown config key 'optim.momentun'", "optim.momentum"]),
        ("optimm.momentum", "3", ["unknown config key 'optimm'", "optim"]),
        ("optim", "{'momentun': 0.5}", ["unknown config key 'optim.momentun'", "optim.momentum"]),
        ("", "3", ["unknown config key ''", "steps"]),
        ("steps.more", "3", ["'steps.more'", "'steps' holds a whole number"]),
        ("variants.two.steps", "3", ["unknown config key 'variants.two'", "variants.one"]),
        ("method_args.mixup.alpha", "3", ["unknown config key 'method_args.mixup'"]),
        ("steps", "many", ["'steps' takes a whole number", "'many'", "--config.steps=10"]),
        ("steps", "2.5", ["'steps' takes a whole number"]),
        ("steps", "True", ["'steps' takes a whole number"]),
        ("ema", "high", ["'ema' takes a number", "'high'"]),
        ("ema", "None", ["'ema' takes a number"]),
        ("smoke", "1", ["'smoke' takes true or false", "'1'"]),
        ("seeds", "3", ["'seeds' takes a list", "--config.seeds=(0, 1)"]),
        ("optim", "3", ["'optim' takes a table"]),
        ("data", 3, ["'data' takes a string"]),  # from a table of overrides, where values have types
    ],
)
def test_bad_changes_are_named(sample, key, text, words):
    message = refused(configs.load, sample, {key: text})
    assert all(word in message for word in words), message


def test_a_comma_in_a_path_is_explained():
    message = refused(configs.parse_argument, "model=resnet50,data=folder:/my,pictures")
    assert "'pictures'" in message
    assert "comma" in message
    assert "--config.KEY=VALUE" in message


def test_a_key_given_twice_is_an_error():
    assert "sets 'seed' twice" in refused(configs.parse_argument, "seed=1,seed=2")


def test_parse_argument():
    assert configs.parse_argument("") == {}
    assert configs.parse_argument("a=1, b = x=y ,") == {"a": "1", "b": "x=y"}


def test_parse_flags():
    assert configs.parse_flags(["--config.a=1=2", "--config.b.c", "x"]) == {"a": "1=2", "b.c": "x"}
    assert "'--workdri'" in refused(configs.parse_flags, ["--workdri", "x"])
    assert "--config.a has no value" in refused(configs.parse_flags, ["--config.a"])


def test_a_file_that_is_not_there_is_named_with_its_neighbours(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    message = refused(configs.load, "configs/finetun.py:seed=1")
    assert "unknown config file 'configs/finetun.py': did you mean configs/finetune.py" in message
    (tmp_path / "empty.py").write_text("")
    assert "defines no get_config" in refused(configs.load, str(tmp_path / "empty.py"))


# --- copies and comparison ----------------------------------------------------------------------------------


def test_merged_changes_a_copy(sample):
    config = configs.load(sample)
    other = configs.merged(config, {"steps": 5, "optim": {"momentum": 0.1}, "method_args": {"mixup": 0.2}})
    assert (other.steps, other.optim.to_dict()) == (5, {"name": "sgd", "momentum": 0.1})
    assert other.method_args.to_dict() == {"mixup": 0.2}
    assert (config.steps, config.optim.momentum, config.method_args.to_dict()) == (10, 0.9, {})
    assert other.is_locked
    # a free table is replaced, not filled up
    assert configs.merged(other, {"method_args": {"cutmix": 1.0}}).method_args.to_dict() == {"cutmix": 1.0}
    assert "optim.momentum" in refused(configs.merged, config, {"optim": {"momentun": 0.1}})


def test_a_variant_is_a_change(sample):
    config = configs.load(sample)
    one = configs.merged(config, config.variants.to_dict()["one"])
    assert (one.steps, one.optim.momentum, one.optim.name) == (1, 0.5, "sgd")


def test_digest_is_of_the_content(sample):
    config = configs.load(sample)
    assert re.fullmatch("[0-9a-f]{64}", configs.digest(config))
    assert configs.digest(configs.load(sample)) == configs.digest(config)
    assert configs.digest(configs.merged(config, {})) == configs.digest(config)
    assert configs.digest(configs.merged(config, {"steps": 11})) != configs.digest(config)


@pytest.mark.parametrize("groups", ["(('head', {'lr': 2.0}), ('.*', None))", "[['head', {'lr': 2.0}], ['.*', None]]"])
def test_digest_survives_json_which_knows_no_tuples(sample, groups):
    config = configs.load(sample, {"groups": groups})
    again = configs.from_json(configs.to_json(config))
    assert configs.digest(again) == configs.digest(config)
    assert configs.digest(configs.merged(again, {})) == configs.digest(config)
    assert configs.difference(config, again) == []
    assert json.loads(configs.to_json(config))["groups"] == [["head", {"lr": 2.0}], [".*", None]]
    # and what stands inside the lists counts
    other = configs.load(sample, {"groups": groups.replace("2.0", "3.0")})
    assert configs.digest(other) != configs.digest(config)


def test_difference_names_the_keys(sample):
    config = configs.load(sample)
    other = configs.load(sample, {"optim.momentum": "0.1", "method_args.mixup": "0.2", "seeds": "(0, 2)"})
    assert configs.difference(config, other) == ["method_args.mixup", "optim.momentum", "seeds"]


def test_a_key_that_an_older_config_does_not_know_is_off_there():
    held = json.loads(configs.to_json(configs.load("configs/finetune.py")))
    del held["increments"], held["prune"]
    older = configs.from_json(json.dumps(held))
    assert configs.difference(older, configs.load("configs/finetune.py")) == []
    assert configs.difference(older, configs.load("configs/finetune.py", {"increments": "2"})) == ["increments"]


def test_run_name_marks_what_was_changed(sample):
    assert configs.run_name(sample, configs.load(sample)) == "sample"
    spec = f"{sample}:steps=20"
    changed = configs.load(spec)
    assert configs.run_name(spec, changed) == f"sample-{configs.digest(changed)[:6]}"
    # the way a change was given does not matter, nor one that changes nothing
    assert configs.run_name(sample, configs.load(sample, {"steps": 20})) == configs.run_name(spec, changed)
    assert configs.run_name(f"{sample}:steps=10", configs.load(f"{sample}:steps=10")) == "sample"


# --- the files themselves -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_has_the_common_keys(path):
    config, known = configs.load(str(path)), common.get_config()
    assert set(config) == set(known)
    for key, table in known.items():
        if isinstance(table, ConfigDict) and key not in configs.FREE:
            assert set(config[key]) == set(table), key
    for changes in config.variants.to_dict().values():
        configs.merged(config, changes)
    assert configs.run_name(str(path), config) == path.stem


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_says_its_command(path):
    text = path.read_text()
    command = f"python main.py --config configs/{path.name}"
    assert command in text or (path.stem == "default" and "python main.py" in text)


@pytest.mark.parametrize(("argument", "top"), [("", 6), ("model=bert", 12), ("model=bert,model_args.layers=4", 4)])
def test_gradual_unfreezing_begins_at_the_top_of_the_model_that_is_asked_for(argument, top):
    second = configs.load(f"configs/text_unfreezing.py:{argument}").stages[1]
    assert second["groups"][1][0] == f"backbone/layer{top}/"
