"""The settings: what params.yaml may say, and how it is told what it may not."""

import math
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from snrvae.settings import params
from snrvae.settings.params import Params

COMMITTED = Path(__file__).parents[2] / "params.yaml"
TREE: dict[str, Any] = {
    "seed": 0,
    "data": {"train_points": 480, "validation_points": 60, "test_points": 600},
    "network": {"kind": "mlp", "activation": "relu", "hidden_units": 16, "hidden_layers": 2},
    "encoder": {"candidates": 1, "folded_start": False},
    "train": {
        "steps": 100,
        "batch_size": 64,
        "learning_rate": 0.01,
        "repeats": 2,
        "kl_weight": 3e-4,
        "gaussianity_weight": 3e-3,
        "mmd_weight": 0.0,
        "engine": "compiled",
        "on_divergence": "fail",
    },
    "source": "cube",
    "conditional": False,
    "noise": ["isotropic"],
    "latent_dim": [1, 2],
    "snr": [1.0, 10.0],
}
WEIGHTS = ["train.kl_weight", "train.gaussianity_weight", "train.mmd_weight"]
SECTIONS = ("data", "network", "train")
LEAVES = [
    key if key not in SECTIONS else f"{key}.{name}"
    for key, section in TREE.items()
    for name in (section if key in SECTIONS else [""])
]

positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
ratio = st.floats(min_value=1e-6, max_value=1e12)
weight = st.floats(min_value=0, max_value=1e9)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """Valid contents of params.yaml."""
    train_points = draw(st.integers(16, 10**7))
    source = draw(st.sampled_from(["cube", "sphere", "digits", "cow.ply", "scans/today/points.npz"]))
    engine = draw(st.sampled_from(["compiled", "torch", "cuda"]))
    beyond = engine != "compiled"
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "data": {
            "train_points": train_points,
            "validation_points": draw(st.integers(1, 10**7)),
            "test_points": draw(st.integers(1, 10**7)),
        },
        "network": {
            "kind": draw(st.sampled_from(["mlp", "residual"])) if beyond else "mlp",
            "activation": draw(st.sampled_from(["relu", "silu", "tanh"])),
            "hidden_units": 16 * draw(st.integers(1, 64)),
            "hidden_layers": draw(st.integers(1, 9)),
        },
        "encoder": {"candidates": draw(st.integers(1, 64)), "folded_start": draw(st.booleans())},
        "train": {
            "steps": draw(st.integers(1, 10**9)),
            "batch_size": 16 * draw(st.integers(1, train_points // 16)),
            "learning_rate": draw(positive),
            "repeats": draw(st.integers(1, 99)),
            "kl_weight": draw(weight),
            "gaussianity_weight": draw(weight),
            "mmd_weight": draw(weight) if beyond else 0.0,
            "engine": engine,
            "on_divergence": draw(st.sampled_from(["fail", "keep"])),
        },
        "source": source,
        "conditional": draw(st.booleans()),
        "noise": draw(st.lists(st.sampled_from(["isotropic", "learned"]), min_size=1, unique=True)),
        "latent_dim": draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=5, unique=True)),
        "snr": draw(st.lists(ratio, min_size=1, max_size=5, unique_by="{:g}".format)),
    }


def replaced(key: str, value: object, tree: Mapping[str, Any] = TREE) -> dict[str, Any]:
    """A valid tree with another value at a dotted key."""
    tree = deepcopy(dict(tree))
    *path, name = key.split(".")
    section = tree
    for part in path:
        section = section[part]
    section[name] = value
    return tree


def read(tree: Mapping[str, object]) -> Params:
    return params.from_yaml(yaml.safe_dump(tree))


def faults(text: str) -> list[str]:
    """The lines of the error that a params.yaml gives."""
    with pytest.raises(ValueError) as caught:
        params.from_yaml(text)
    return str(caught.value).splitlines()


def test_the_committed_settings_are_valid() -> None:
    assert params.from_yaml(COMMITTED.read_text()).train.steps > 0


@given(trees())
def test_valid_settings_come_through_unchanged(tree: dict[str, Any]) -> None:
    assert read(tree).model_dump(mode="json") == tree


@given(st.sampled_from(["isotropic", "learned"]), st.integers(1, 10**6), st.one_of(ratio, st.integers(1, 99)))
def test_a_scalar_is_the_same_as_a_list_of_one(noise: str, latent_dim: int, snr: float) -> None:
    scalars = replaced("noise", noise) | {"latent_dim": latent_dim, "snr": snr}
    lists = replaced("noise", [noise]) | {"latent_dim": [latent_dim], "snr": [snr]}
    assert read(scalars) == read(lists)


@pytest.mark.parametrize("key", ["train.learning_rate", *WEIGHTS, "snr"])
def test_a_number_that_yaml_takes_for_a_string_is_read_as_a_number(key: str) -> None:
    tree = replaced("train.engine", "torch")
    text = yaml.safe_dump(replaced(key, "NUMBER", tree)).replace("NUMBER", "1e-05")
    assert "1e-05" in str(yaml.safe_load(text)), "YAML 1.1 reads 1e-05 as a string"
    assert params.from_yaml(text) == read(replaced(key, 0.00001, tree))


@pytest.mark.parametrize(
    ("key", "wrong", "right"),
    [
        *(("seed", wrong, "a whole number from 0 to 2³² - 1") for wrong in (-1, 2**32, 1.0, "1", True, None)),
        *(
            ("data.train_points", wrong, "a whole number ≥ 1, at most 1e9")
            for wrong in (0, -6, 480.0, "480", True, None, 10**9 + 1)
        ),
        *(("data.validation_points", wrong, "a whole number ≥ 1") for wrong in (0, -1, 60.0)),
        *(("data.test_points", wrong, "a whole number ≥ 1") for wrong in (0, -1, 600.0)),
        *(
            ("network.kind", wrong, "mlp or residual")
            for wrong in ("transformer", "MLP", "", 1, None, ["mlp"])
        ),
        *(
            ("network.activation", wrong, "relu, silu or tanh")
            for wrong in ("gelu", "ReLU", "", 1, None, ["relu"])
        ),
        *(("network.hidden_units", wrong, "multiple of 16") for wrong in (0, 8, 40, 16.0, "16", True)),
        *(("network.hidden_layers", wrong, "≥ 1") for wrong in (0, -1, 1.5, False, [2])),
        *(("encoder.candidates", wrong, "a whole number from 1 to 64") for wrong in (0, 65, 1.5, True)),
        *(("encoder.folded_start", wrong, "true or false") for wrong in (0, "yes", None)),
        *(("train.steps", wrong, "≥ 1") for wrong in (0, 1.0, True, "many")),
        *(("train.batch_size", wrong, "multiple of 16") for wrong in (0, 8, 100, 64.0, True)),
        *(
            ("train.learning_rate", wrong, "finite number > 0")
            for wrong in (0, -0.01, math.inf, math.nan, "fast", "nan", True, None, [0.01])
        ),
        *(("train.repeats", wrong, "≥ 1") for wrong in (0, 2.0, True)),
        *(("train.kl_weight", wrong, "from 0 to 1e9") for wrong in (-1e-9, math.inf, math.nan, "", False)),
        *(("train.gaussianity_weight", wrong, "from 0 to 1e9") for wrong in (-1, -math.inf, math.nan, True)),
        *(("train.mmd_weight", wrong, "from 0 to 1e9") for wrong in (-1e-9, math.inf, math.nan, "", False)),
        *(
            ("train.engine", wrong, "compiled, torch or cuda")
            for wrong in ("jax", "Torch", "cpu", "", 1, None, ["torch"])
        ),
        *(("train.on_divergence", wrong, "fail or keep") for wrong in ("stop", "", True, None)),
        *(
            ("source", wrong, "a built-in source, or the path of a file below data/raw")
            for wrong in (
                *("", 1, None, ["cube"], True),
                *(".", "..", "../cube.npz", "scans/../../cube.npy", "scans/./a.npy"),
                *("/etc/passwd", "scans//a.npy", "scans/", "scans\\a.npy", "a\nb.npy", "a\x1b.npy"),
            )
        ),
        *(("conditional", wrong, "true or false") for wrong in (1, 0, "yes", None, [True])),
        *(("noise", wrong, "isotropic, learned") for wrong in ("none", "Isotropic", 1, None)),
        *(("latent_dim", wrong, "whole number ≥ 1") for wrong in (0, -1, 2.0, "2", True, None)),
        *(
            ("snr", wrong, "number from 1e-6 to 1e12 (linear, not dB)")
            for wrong in (0, -1, 0.0, math.inf, -math.inf, math.nan, "ten", "inf", True, None)
        ),
        *(
            ("snr", wrong, "number from 1e-6 to 1e12 (linear, not dB)")
            for wrong in (math.nextafter(1e-6, 0), math.nextafter(1e12, math.inf), 1e-300, 1e300, 10**12 + 1)
        ),
        *((section, wrong, "a section with") for section in SECTIONS for wrong in (None, 3, [1], "x")),
    ],
)
def test_a_wrong_value_gives_one_line_with_its_key_the_value_and_what_would_be_right(
    key: str, wrong: object, right: str
) -> None:
    (line,) = faults(yaml.safe_dump(replaced(key, wrong)))
    assert line.startswith(f"{key}: ")
    assert repr(wrong) in line
    assert "expected" in line
    assert right in line.partition("expected")[2]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("network.kind", "residual", "residual"), ("train.mmd_weight", 0.25, "0.25")],
)
def test_what_the_compiled_engine_cannot_train_is_refused_with_the_engines_that_can(
    key: str, value: object, words: str
) -> None:
    tree = replaced(key, value)
    (line,) = faults(yaml.safe_dump(tree))
    assert line.startswith("train.engine: ")
    assert f"the compiled engine has no {key} {words}; expected torch or cuda" in line
    for engine in ("torch", "cuda"):
        assert read(replaced("train.engine", engine, tree)).train.engine == engine


def test_every_noise_of_the_grid_that_the_compiled_engine_lacks_is_refused_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(params.COMPILED, "noise", {"isotropic"})
    (line,) = faults(yaml.safe_dump(replaced("noise", ["isotropic", "learned"])))
    assert "the compiled engine has no noise learned; expected torch or cuda" in line


@pytest.mark.parametrize(
    ("key", "good", "wrong"),
    [
        ("noise", "learned", "none"),
        ("latent_dim", 3, 0),
        ("latent_dim", 3, 2.0),
        ("latent_dim", 3, "2"),
        ("snr", 10, 0),
        ("snr", 10, math.inf),
        ("snr", 10, True),
    ],
)
def test_a_wrong_value_in_a_list_is_named_alone(key: str, good: object, wrong: object) -> None:
    for values in ([good, wrong], [wrong, good]):
        (line,) = faults(yaml.safe_dump(replaced(key, values)))
        assert line.startswith(f"{key}: {wrong!r} is wrong; expected ")


@pytest.mark.parametrize("key", ["noise", "latent_dim", "snr"])
def test_an_empty_list_is_refused(key: str) -> None:
    (line,) = faults(yaml.safe_dump(replaced(key, [])))
    assert line.startswith(f"{key}: [] is wrong; expected ")


@pytest.mark.parametrize(
    ("key", "values", "label"),
    [
        ("snr", [10, 10.0000001], "10"),
        ("snr", [1, 3, 1.0], "1"),
        ("snr", [1e7, 1e7 + 1], "1e+07"),
        ("latent_dim", [2, 1, 2], "2"),
        ("noise", ["learned", "learned"], "learned"),
    ],
)
def test_two_values_that_would_share_a_label_are_refused(key: str, values: list[object], label: str) -> None:
    (line,) = faults(yaml.safe_dump(replaced(key, values)))
    assert line.startswith(f"{key}: {label} is given twice; expected ")


@given(st.integers(10**6, 10**9 - 9), st.integers(1, 9))
def test_large_latent_dims_that_differ_are_never_taken_for_one(dim: int, more: int) -> None:
    assert read(replaced("latent_dim", [dim, dim + more])).latent_dim == (dim, dim + more)


@given(ratio, ratio)
def test_snrs_are_refused_together_exactly_where_their_labels_agree(a: float, b: float) -> None:
    tree = replaced("snr", [a, b])
    if f"{a:g}" == f"{b:g}":
        with pytest.raises(ValueError, match="twice"):
            read(tree)
    else:
        assert read(tree).snr == (a, b)


def test_a_batch_may_be_the_whole_training_set_and_no_more() -> None:
    assert read(replaced("train.batch_size", 480)).train.batch_size == 480
    (line,) = faults(yaml.safe_dump(replaced("train.batch_size", 496)))
    assert line.startswith("train.batch_size: 496 is ")
    assert "data.train_points" in line
    assert "480" in line


@pytest.mark.parametrize("key", ["snrs", "train.lr", "data.points", "network.width"])
def test_an_unknown_key_is_named_beside_the_known_ones(key: str) -> None:
    (line,) = faults(yaml.safe_dump(replaced(key, 3)))
    section, _, _ = key.rpartition(".")
    known = TREE[section] if section else TREE
    assert line.startswith(f"{key}: unknown key; ")
    assert line.endswith(", ".join(known))


@pytest.mark.parametrize("key", LEAVES)
def test_a_missing_key_is_named(key: str) -> None:
    tree = deepcopy(TREE)
    section, _, name = key.rpartition(".")
    del (tree[section] if section else tree)[name]
    (line,) = faults(yaml.safe_dump(tree))
    assert line.startswith(f"{key}: missing; expected ")


def test_every_fault_gets_a_line_of_its_own() -> None:
    tree = replaced("seed", -1) | {"snr": [0, 5, "x"], "latent_dim": [], "colour": "red"}
    tree["train"]["steps"] = 0
    tree["train"]["momentum"] = 0.9
    del tree["network"]["hidden_layers"]
    keys = [line.partition(": ")[0] for line in faults(yaml.safe_dump(tree))]
    assert sorted(keys) == sorted(
        ["seed", "snr", "snr", "latent_dim", "colour", "train.steps", "train.momentum"]
        + ["network.hidden_layers"]
    )


@pytest.mark.parametrize("text", ["", "3", "just words", "- 1\n- 2", "null"])
def test_a_file_that_is_no_mapping_is_refused_in_one_line(text: str) -> None:
    (line,) = faults(text)
    assert "seed, data, network, encoder, train, source, conditional, noise, latent_dim, snr" in line


def test_the_path_of_a_source_is_of_200_characters_at_most_and_a_longer_one_is_shown_short() -> None:
    assert read(replaced("source", "x" * 200)).source == "x" * 200
    (line,) = faults(yaml.safe_dump(replaced("source", "x" * 201)))
    assert line.startswith("source: 'xxx")
    assert len(line) < 250


def test_a_long_wrong_value_is_shown_short() -> None:
    (line,) = faults(yaml.safe_dump(replaced("seed", list(range(1000)))))
    assert line.startswith("seed: [0, 1, 2, ")
    assert len(line) < 150


@pytest.mark.parametrize(
    "text",
    ["snr: [1, 2", "a: b: c", "\tseed: 0", "snr: &a [*b]", "seed: \x00", "snr: !!python/tuple [1, 2]"],
)
def test_text_that_is_no_yaml_is_refused_in_one_line(text: str) -> None:
    (line,) = faults(text)
    assert line.startswith("not YAML: ")


@pytest.mark.parametrize(
    ("after", "line", "key"),
    [
        ("", "seed: 0", "seed"),
        ("", "seed: 1", "seed"),
        ("", "train: {steps: 3}", "train"),
        ("", "'seed': 1", "seed"),
        ("network:\n", "  hidden_units: 32", "hidden_units"),
        ("train:\n", "  steps: 7", "steps"),
        ("", "colour: red\ncolour: blue", "colour"),
        ("", '"a\\nb": 1\n"a\\nb": 2', "a b"),
    ],
)
def test_a_key_that_stands_twice_is_refused_in_one_line(after: str, line: str, key: str) -> None:
    text = yaml.safe_dump(TREE)
    text = text.replace(after, f"{after}{line}\n") if after else f"{text}{line}\n"
    assert yaml.safe_load(text), "YAML takes the last of the two"
    assert faults(text) == [f"not YAML: {key} is given twice"]


def test_the_same_key_in_two_sections_is_no_key_twice() -> None:
    text = yaml.safe_dump(TREE | {"data": TREE["data"] | {"steps": 3}})
    (line,) = faults(text)
    assert line.startswith("data.steps: unknown key; ")


@pytest.mark.parametrize("edge", [1e-6, 1e12, 10**12])
def test_the_smallest_and_the_largest_snr_are_allowed(edge: float) -> None:
    assert read(replaced("snr", edge)).snr == (float(edge),)


ODD = {
    "a date": "2020-01-01",
    "a time": "2020-01-01 10:00:00",
    "4000 digits": "1" * 4000,
    "minus 4000 digits": "-" + "1" * 4000,
    "deep": "[" * 150 + "]" * 150,
    "deep maps": "[" + "{a: " * 100 + "1" + "}" * 100 + "]",
    "a list in itself": "&a [*a]",
    "lines": '"a\\nb"',
    "a set": "!!set {a, b}",
    "bytes": "!!binary aGVsbG8=",
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("key", ["seed", "train.learning_rate", "snr", "network", "colour"])
def test_values_that_only_yaml_has_are_refused_in_one_line_that_names_the_key(key: str, value: str) -> None:
    (line,) = faults(yaml.safe_dump(replaced(key, "VALUE")).replace("VALUE", value))
    assert line.startswith(f"{key}: ")
    assert len(line) < 200
    assert line.isprintable()


UNREADABLE = {
    "no such date": "2020-13-45",
    "5000 digits": "1" * 5000,
    "3000 lists deep": "[" * 3000 + "]" * 3000,
    "3000 maps deep": "{a: " * 3000 + "1" + "}" * 3000,
    "no whole number": "!!int abc",
    "no bytes": "!!binary é",
    "an open list": "[" * 3000,
}


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
def test_values_that_yaml_itself_cannot_take_are_refused_in_one_line(value: str) -> None:
    """Whatever the key is: YAML has not told the keys apart yet."""
    (line,) = faults(yaml.safe_dump(replaced("snr", "VALUE")).replace("VALUE", value))
    assert line.startswith("not YAML: ")
    assert line.isprintable()


@pytest.mark.parametrize("value", ["!!int ''", "!!float ''", "!!bool abc", "!!timestamp abc"])
def test_a_tag_that_its_value_does_not_fit_is_refused_in_one_line(value: str) -> None:
    (line,) = faults(yaml.safe_dump(replaced("seed", "VALUE")).replace("VALUE", value))
    assert line.startswith("not YAML: ")


@pytest.mark.parametrize("key", ["seed", "train.learning_rate", "latent_dim"])
def test_a_whole_number_too_long_to_show_is_refused_in_one_line_that_names_the_key(key: str) -> None:
    (line,) = faults(yaml.safe_dump(replaced(key, "VALUE")).replace("VALUE", "0x" + "f" * 5000))
    assert line.startswith(f"{key}: ")


@pytest.mark.parametrize("key", ["train.steps", "network.hidden_layers", "latent_dim", "data.test_points"])
def test_a_whole_number_beyond_any_machine_is_refused(key: str) -> None:
    (line,) = faults(yaml.safe_dump(replaced(key, 6 * 10**30)))
    assert line.startswith(f"{key}: ")


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\u2028b", "\n", "a\tb", "\x1b[31m"])
@pytest.mark.parametrize("section", ["", "train."])
def test_a_key_with_a_line_break_in_it_is_still_told_in_one_line(section: str, name: str) -> None:
    (line,) = faults(yaml.safe_dump(replaced(f"{section}{name}", 3)))
    assert line.startswith(f"{section}{name!r}: unknown key; ")
    assert line.isprintable()


@pytest.mark.parametrize("key", ["7", "yes", "null", "1.5"])
def test_a_key_that_is_no_text_is_refused_in_one_line_that_names_it(key: str) -> None:
    (line,) = faults(f"{yaml.safe_dump(TREE)}\n{key}: 3\n")
    assert str(yaml.safe_load(key)) in line
    (line,) = faults(yaml.safe_dump(TREE).replace("hidden_layers", f"{key}: 3\n  hidden_layers"))
    assert line.startswith("network")
    assert str(yaml.safe_load(key)) in line


words = st.text(st.characters(categories=["L", "N", "P"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*LEAVES, *SECTIONS, "unknown", "train.unknown"]), values)
def test_whatever_stands_at_a_key_either_is_valid_or_gives_lines_that_name_the_key(
    key: str, value: object
) -> None:
    try:
        read(replaced(key, value))
    except ValueError as error:
        lines = str(error).splitlines()
        assert lines
        beyond = f"train.engine: the compiled engine has no {key} "
        assert all(line.partition(": ")[0].startswith(key) or line.startswith(beyond) for line in lines)


def test_settings_cannot_be_changed_once_they_are_checked() -> None:
    settings = read(TREE)
    with pytest.raises(ValidationError):
        settings.train.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(("snr", "decibels"), [(1, 0), (10, 10), (1000, 30), (0.5, -3.0103)])
def test_decibels_are_ten_times_the_decimal_logarithm_of_a_power_ratio(snr: float, decibels: float) -> None:
    assert params.snr_db(snr) == pytest.approx(decibels, abs=1e-5)


# As people and DVC write them: the text behind the key, and what would be right

SPELT = {
    "snr": {
        "": "number from",  # `-S snr=`
        "null": "number from",
        "~": "number from",
        "abc": "number from",
        "٣": "number from",
        "１０": "number from",
        '"[1,2]"': "number from",  # quoted: a text
        "'1, 2'": "number from",
        "1,2": "number from",
        "[[1, 2]]": "number from",
        "[1, [2]]": "number from",
        "[1, null]": "number from",
        "{a: 1}": "number from",
        "[{a: 1}]": "number from",
        "1e308": "number from",
        "1e400": "number from",
        "-1e308": "number from",
        "1e-308": "number from",
        "5e-324": "number from",
        ".inf": "number from",
        "-.inf": "number from",
        ".nan": "number from",
        "nan": "number from",
        "infinity": "number from",
        "yes": "number from",
        "off": "number from",
        "2026-11-22": "number from",
        "2026-11-22 10:00:00": "number from",
        "10dB": "number from",
        "10 dB": "number from",
        "0x": "number from",
        "[10, 1e1]": "10 is given twice",
        "[10, 10.0]": "10 is given twice",
        "[10, 0xA]": "10 is given twice",
        "[10, 1_0]": "10 is given twice",
        "[8, 010]": "8 is given twice",  # octal, in YAML 1.1
        "[90, 1:30]": "90 is given twice",  # minutes and seconds, in YAML 1.1
        "[10, '10']": "10 is given twice",
        "[1, 1.0000001]": "1 is given twice",
        f"[{', '.join(map(str, range(1, 66)))}]": "at most 64",
        f"[{', '.join(map(str, range(1, 10_000)))}]": "at most 64",
        "[" + "1, " * 3000 + "]": "at most 64",
    },
    "latent_dim": {
        "": "whole number",
        "abc": "whole number",
        "2.0": "whole number",
        "[2.0]": "whole number",
        "1e1": "whole number",
        '"2"': "whole number",
        '"[1,2]"': "whole number",
        "٣": "whole number",  # a digit, but not YAML's
        "²": "whole number",
        "true": "whole number",
        "1.5": "whole number",
        "-1": "whole number",
        "0": "whole number",
        "1e308": "whole number",
        "[[1]]": "whole number",
        "2026-11-22": "whole number",
        "[2, 0b10]": "2 is given twice",
        "[8, 010]": "8 is given twice",
        "[90, 1:30]": "90 is given twice",
        "[2, +2]": "2 is given twice",
        f"[{', '.join(map(str, range(1, 18)))}]": "at most 16",
    },
    "noise": {
        "": "isotropic, learned",
        "Learned": "isotropic, learned",
        "'learned '": "isotropic, learned",
        "lеarned": "isotropic, learned",  # with a Cyrillic е
        '"[isotropic,learned]"': "isotropic, learned",
        "isotropic,learned": "isotropic, learned",
        "[isotropic, learned, isotropic]": "isotropic is given twice",
        "<script>": "isotropic, learned",
    },
    "seed": {
        "1e3": "whole number",
        "4294967296": "whole number",
        "'0'": "whole number",
        "[0]": "whole number",
        "1.0": "whole number",
        "-0x1": "whole number",
    },
    "train.kl_weight": {"1e308": "from 0 to 1e9", "1e39": "from 0 to 1e9", "-1e-30": "from 0 to 1e9"},
    "train.gaussianity_weight": {"1e308": "from 0 to 1e9", ".nan": "from 0 to 1e9", "[1]": "from 0 to 1e9"},
    "train.learning_rate": {"0": "> 0", ".inf": "> 0", "1e-400": "> 0", "1:30:00 pm": "> 0", "'1,5'": "> 0"},
    "data.test_points": {"1e4": "≥ 1", "600.0": "≥ 1", "6000000006": "at most 1e9"},
}


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in SPELT.items() for text in texts])
def test_whatever_is_written_behind_a_key_is_told_in_one_line(key: str, text: str) -> None:
    document = yaml.safe_dump(replaced(key, "VALUE")).replace("VALUE", text)
    (line,) = faults(document)
    assert line.startswith(f"{key}: ")
    assert SPELT[key][text] in line
    assert line.isprintable()
    assert len(line) < 300


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("snr", "1e1", (10.0,)),
        ("snr", "'10'", (10.0,)),
        ("snr", "010", (8.0,)),
        ("snr", "1:30", (90.0,)),
        ("snr", "[1_000]", (1000.0,)),
        ("latent_dim", "0b11", (3,)),
        ("latent_dim", "[1, 2]", (1, 2)),
        ("seed", "+7", 7),
    ],
)
def test_other_spellings_of_a_number_are_that_number(key: str, text: str, value: object) -> None:
    document = yaml.safe_dump(replaced(key, "VALUE")).replace("VALUE", text)
    assert getattr(params.from_yaml(document), key) == value


def test_anchors_that_would_fill_the_memory_are_told_in_a_short_line() -> None:
    levels = ["- &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"- &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 12)]
    document = yaml.safe_dump(replaced("seed", "VALUE")).replace("seed: VALUE", "seed:\n" + "\n".join(levels))
    (line,) = faults(document)
    assert line.startswith("seed: ")
    assert len(line) < 200


def test_a_mapping_of_many_keys_is_read_in_a_moment() -> None:
    document = yaml.safe_dump(TREE) + "colour: {" + ", ".join(f"k{n}: 1" for n in range(5_000)) + "}\n"
    (line,) = faults(document)
    assert line.startswith("colour: unknown key")
