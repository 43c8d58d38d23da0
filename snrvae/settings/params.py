"""The settings of a run, as params.yaml gives them: all are checked before anything is computed."""

import math
import reprlib
from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

SPLITS = ("train", "validation", "test")
NETWORKS = (  # a kind is the module of that name in snrvae/codecs/networks/
    "mlp",
    "residual",
)
NOISES = (  # of the grid; snrvae/codecs/channels.py has the channels
    "isotropic",
    "learned",
)
COMPILED = {  # what the compiled engine can train; the engines torch and cuda train anything
    "network.kind": {"mlp"},
    "noise": {"isotropic", "learned"},
    "weights": {"kl_weight", "gaussianity_weight"},
}
ROW = 16  # float32 in the widest vector register: on whole rows a cell's bits do not depend on its neighbours


def _number(value: Any) -> Any:
    """YAML's `1e-05` is a string and its `true` a number in Python: accept the first, refuse the second."""
    if isinstance(value, bool) or (isinstance(value, str) and not value.isascii()):
        raise ValueError  # Python accepts the digits of every script
    return float(value) if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError
    return value


def _multiple_of(divisor: int) -> AfterValidator:
    def check(value: int) -> int:
        if value % divisor:
            raise ValueError
        return value

    return AfterValidator(check)


def _one_of(names: Collection[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            raise ValueError
        return value

    return AfterValidator(check)


def _inside(value: str) -> str:
    """A name, or a path that stays below its folder and prints in a line."""
    parts = value.split("/")
    if not value.isprintable() or "\\" in value or any(part in ("", ".", "..") for part in parts):
        raise ValueError
    return value


def _listed(value: Any) -> Any:
    """A scalar is a list of one: `dvc exp run -S snr=10` writes a scalar."""
    return value if isinstance(value, list | tuple) else [value]


Whole = Annotated[int, BeforeValidator(_whole)]
Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
MOST = 10**9
MOST_DIMS, MOST_SNRS = 16, 64  # a figure has a row or a column for each: 64 megapixels
MOST_CANDIDATES = 64  # each is decoded at every step
Count = Annotated[Whole, Field(ge=1, le=MOST)]
Weight = Annotated[Real, Field(ge=0, le=1e9)]  # float32 holds it times a gradient
Truth = Annotated[bool, Field(strict=True)]
SourceName = Annotated[str, Field(strict=True, min_length=1, max_length=200), AfterValidator(_inside)]
NetworkKind = Annotated[str, Field(strict=True), _one_of(NETWORKS)]
Noise = Annotated[str, Field(strict=True), _one_of(NOISES)]
Positive = Annotated[Real, Field(gt=0)]
Ratio = Annotated[Real, Field(ge=1e-6, le=1e12)]  # float32 holds P, P / s and their logarithms


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice; YAML itself would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.YAMLError(f"{key.value} is given twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Settings):
    train_points: Count = Field(description="a whole number ≥ 1, at most 1e9")
    validation_points: Count = Field(description="a whole number ≥ 1, at most 1e9")
    test_points: Count = Field(description="a whole number ≥ 1, at most 1e9")

    @property
    def counts(self) -> dict[str, int]:
        """Points of each split, by its name."""
        return {name: getattr(self, f"{name}_points") for name in SPLITS}


class Network(Settings):
    kind: NetworkKind = Field(description=f"{', '.join(NETWORKS[:-1])} or {NETWORKS[-1]}")
    activation: Literal["relu", "silu", "tanh"] = Field(description="relu, silu or tanh")
    hidden_units: Annotated[Count, _multiple_of(ROW)] = Field(
        description=f"a whole number ≥ {ROW}, a multiple of {ROW}, at most 1e9"
    )
    hidden_layers: Count = Field(description="a whole number ≥ 1, at most 1e9")


class Encoder(Settings):
    candidates: Annotated[Count, Field(le=MOST_CANDIDATES)] = Field(
        description=f"a whole number from 1 to {MOST_CANDIDATES}"
    )
    folded_start: Truth = Field(description="true or false")


PLAIN = Encoder(candidates=1, folded_start=False)  # the encoder of the plain study


class Train(Settings):
    steps: Count = Field(description="a whole number ≥ 1, at most 1e9")
    batch_size: Annotated[Count, _multiple_of(ROW)] = Field(
        description=f"a whole number ≥ {ROW}, a multiple of {ROW}, at most data.train_points"
    )
    learning_rate: Positive = Field(description="a finite number > 0")
    repeats: Count = Field(description="a whole number ≥ 1, at most 1e9")
    kl_weight: Weight = Field(description="a number from 0 to 1e9")
    gaussianity_weight: Weight = Field(description="a number from 0 to 1e9")
    mmd_weight: Weight = Field(description="a number from 0 to 1e9")
    engine: Literal["compiled", "torch", "cuda"] = Field(description="compiled, torch or cuda")
    on_divergence: Literal["fail", "keep"] = Field(description="fail or keep")


class Params(Settings):
    """All of params.yaml. A field's description is what error messages call expected."""

    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = Field(description="a whole number from 0 to 2³² - 1")
    data: Data = Field(description="a section with train_points, validation_points, test_points")
    network: Network = Field(description="a section with kind, activation, hidden_units, hidden_layers")
    encoder: Encoder = Field(description="a section with candidates, folded_start")
    train: Train = Field(
        description="a section with steps, batch_size, learning_rate, repeats, kl_weight, "
        "gaussianity_weight, mmd_weight, engine, on_divergence"
    )
    source: SourceName = Field(
        description="the name of a built-in source, or the path of a file below data/raw, without . or .."
    )
    conditional: Truth = Field(description="true or false (true: sources with labels only)")
    noise: Annotated[tuple[Noise, ...], BeforeValidator(_listed)] = Field(
        min_length=1, description=f"{', '.join(NOISES)}, or a list of them"
    )
    latent_dim: Annotated[tuple[Count, ...], BeforeValidator(_listed)] = Field(
        min_length=1,
        max_length=MOST_DIMS,
        description=f"a whole number ≥ 1, at most 1e9, or a list of at most {MOST_DIMS} such",
    )
    snr: Annotated[tuple[Ratio, ...], BeforeValidator(_listed)] = Field(
        min_length=1,
        max_length=MOST_SNRS,
        description=f"a number from 1e-6 to 1e12 (linear, not dB), or a list of at most {MOST_SNRS} such",
    )

    @field_validator("noise", "latent_dim", "snr")
    @classmethod
    def _labels_differ(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        labels = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
        for label in labels:
            if labels.count(label) > 1:
                raise PydanticCustomError("labels", "{label} is given twice", {"label": label})
        return values

    @field_validator("train")
    @classmethod
    def _batch_fits(cls, train: Train, info: ValidationInfo) -> Train:
        data = info.data.get("data")
        if data is not None and train.batch_size > data.train_points:
            raise PydanticCustomError(
                "batch",
                "{batch} is more than {points}",
                {"batch": train.batch_size, "points": data.train_points},
            )
        return train

    @model_validator(mode="after")
    def _engine_can(self) -> Self:
        if self.train.engine == "compiled" and (unable := self._beyond_compiled()):
            key, value = unable
            what = {"key": key, "value": value}
            raise PydanticCustomError("engine", "the compiled engine has no {key} {value}", what)
        return self

    def _beyond_compiled(self) -> tuple[str, str] | None:
        """The first setting that the compiled engine cannot train, and its value."""
        if self.network.kind not in COMPILED["network.kind"]:
            return "network.kind", self.network.kind
        for noise in self.noise:
            if noise not in COMPILED["noise"]:
                return "noise", noise
        for name, value in self.train:
            if name.endswith("_weight") and value and name not in COMPILED["weights"]:
                return f"train.{name}", f"{value:g}"
        return None


def from_yaml(text: str) -> Params:
    """Settings from the text of params.yaml.

    Raises ValueError with one line per fault: the key, its value, and what would be right.
    """
    try:
        tree = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ValueError(
            "not a set of keys: expected seed, data, network, encoder, train, source, conditional, "
            "noise, latent_dim, snr"
        )
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        # a wrong entry leaves its list too short: report one fault, not two
        faults = [f for f in error.errors() if f["type"] != "too_short" or not f["input"]]
        raise ValueError("\n".join(dict.fromkeys(map(_line, faults)))) from None


def _line(fault: ErrorDetails) -> str:
    if fault["type"] == "engine":
        return f"train.engine: {fault['msg']}; expected torch or cuda, which train any network and loss"
    path = [str(part) if str(part).isprintable() else repr(part) for part in fault["loc"]]
    kind, value = fault["type"], _shown(fault["input"])
    if kind == "invalid_key":  # YAML reads `yes` as a truth value, and pydantic shows that as 1
        path[-1] = str(fault["input"])
    if kind in ("extra_forbidden", "invalid_key"):
        return f"{'.'.join(path)}: unknown key; known here: {', '.join(_model(path[:-1]).model_fields)}"
    path = [part for part in fault["loc"] if isinstance(part, str)]  # without the place in a list
    if kind == "batch":
        path, value = [*path, "batch_size"], str(fault["ctx"]["batch"])
    right = _model(path[:-1]).model_fields[path[-1]].description
    match kind:
        case "missing":
            what = "missing"
        case "labels":
            what = fault["msg"]
        case "batch":
            what = f"{value} is more than data.train_points {fault['ctx']['points']}"
        case _:
            what = f"{value} is wrong"
    return f"{'.'.join(path)}: {what}; expected {right}"


def _shown(value: Any, longest: int = 60) -> str:
    short = reprlib.Repr()  # YAML's anchors can make nested lists that are too large to write out
    short.maxlist = short.maxdict = short.maxset = short.maxtuple = 20
    short.maxstring = short.maxlong = short.maxother = longest
    try:
        text = short.repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _model(path: Iterable[str]) -> type[Settings]:
    model: type[Settings] = Params
    for part in path:
        model = model.model_fields[part].annotation  # type: ignore[assignment]
    return model


def snr_db(snr: float) -> float:
    """A linear power ratio in decibels."""
    return 10 * math.log10(snr)
