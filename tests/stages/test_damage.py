"""Damaged, foreign and hostile files: one line that names the file, nothing written, nothing executed."""

import ast
import importlib
import io
import json
import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snrvae.codecs import files as models
from snrvae.limit import shannon
from snrvae.measurement import metrics, prices, samples
from snrvae.reporting import gains, report
from snrvae.settings import grid, params
from snrvae.settings.params import Params
from snrvae.sources import cube, dataset, npz, record
from snrvae.training import history
from stages import files
from tests.repository import ROOT, STAGES, TINY

pytestmark = pytest.mark.slow

SETTINGS = yaml.safe_load((ROOT / "params.yaml").read_text())
SETTINGS |= {key: SETTINGS[key] | value if isinstance(value, dict) else value for key, value in TINY.items()}
SETTINGS |= {"latent_dim": [1, 2], "snr": [1, 10], "train": SETTINGS["train"] | {"steps": 10, "repeats": 1}}
ARGUMENTS = {name: entry["cmd"].split()[3:] for name, entry in STAGES.items()}
SOURCE, CUBE, AE, VAE, CLOUDS = (
    "data/source.npz",
    "data/cube.npz",
    "data/ae.safetensors",
    "data/snr_vae.safetensors",
    "data/evaluation.npz",
)
CELLS, METRICS, LIMIT = "reports/cells.csv", "reports/metrics.json", "reports/rate_distortion.csv"
ONE_POINT = "reports/one_point.csv"
TRAINING_AE, TRAINING_VAE, LOCK = "reports/training_ae.csv", "reports/training_vae.csv", "requirements.lock"
CLOSER = "reports/closer.csv"
READS = {
    "train_ae": [SOURCE, CUBE],
    "train_vae": [SOURCE, CUBE],
    "rate_distortion": [SOURCE],
    "evaluate": [SOURCE, CUBE, AE, VAE, LIMIT, ONE_POINT],
    "render": [SOURCE, CUBE, CLOUDS, CELLS, METRICS, LIMIT, TRAINING_AE, TRAINING_VAE, CLOSER, LOCK],
}
READERS = {
    name: stage for stage, names in READS.items() for name in names
}  # the last stage that reads a file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file of a tiny run, made by the stages themselves."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "params.yaml").write_text(yaml.safe_dump(SETTINGS))
    (folder / "reports").mkdir()
    shutil.copy(ROOT / LIMIT, folder / LIMIT)
    shutil.copy(ROOT / ONE_POINT, folder / ONE_POINT)
    shutil.copy(ROOT / LOCK, folder / LOCK)
    shutil.copy(ROOT / "tests" / "closer.csv", folder / CLOSER)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in ("generate", "train_ae", "train_vae", "evaluate"):
            run(stage, patch)
    files.write(folder / "reports" / "README.md", "old")
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, to be in."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def run(stage: str, patch: pytest.MonkeyPatch) -> None:
    """A stage in this process."""
    patch.setattr(sys, "argv", [stage, *ARGUMENTS[stage]])
    files.run(getattr(importlib.import_module(f"stages.{stage}"), stage))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(stage: str, name: str, folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    """The lines with which a stage ends; each names the file, and nothing is written."""
    before = contents(folder)
    with pytest.raises(SystemExit) as caught:
        run(stage, patch)
    assert isinstance(caught.value.code, str), "sys.exit with text ends the process with code 1"
    lines = caught.value.code.splitlines()
    assert lines
    for line in lines:
        assert f"{name}: " in line
        assert line.isprintable()
        assert len(line) < 500
    assert contents(folder) == before
    return lines


class Payload:
    """What unpickling executes: it makes a file called `executed`."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("executed",)


def objects() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, train=np.array([Payload()], object))
    return buffer.getvalue()


def torch_pickle() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": Payload()}, buffer)
    return buffer.getvalue()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "text": lambda _: b"hello\n",
    "pickle": lambda _: pickle.dumps(Payload()),
    "objects in an npz": lambda _: objects(),
    "pickle of torch": lambda _: torch_pickle(),
    "safetensors": lambda _: safetensors.torch.save({"weight": torch.zeros(2)}),
    "every bit turned": lambda data: bytes(255 - byte for byte in data),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_something_else_is_refused_in_one_line_that_names_it(
    name: str, damage: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / name).write_bytes(DAMAGES[damage]((folder / name).read_bytes()))
    (_,) = refused(READERS[name], name, folder, monkeypatch)
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("fault", ["missing", "a folder"])
def test_a_file_that_is_not_there_is_named(
    name: str, fault: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / name).unlink()
    if fault == "a folder":
        (folder / name).mkdir()
    (_,) = refused(READERS[name], name, folder, monkeypatch)


@pytest.mark.parametrize("data", [*DAMAGES])
def test_settings_that_are_something_else_are_refused(
    data: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "params.yaml"
    path.write_bytes(DAMAGES[data](path.read_bytes()))
    refused("generate", "params.yaml", folder, monkeypatch)
    assert not (folder / "executed").exists()


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir [executed]",
        "!!python/object/new:os.mkdir [executed]",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!!python/object:tests.stages.test_damage.Payload {}",
    ],
)
def test_yaml_that_would_execute_code_is_refused(
    tag: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = yaml.safe_dump(SETTINGS | {"seed": "TAG"}).replace("TAG", tag)
    (folder / "params.yaml").write_text(text)
    (line,) = refused("generate", "params.yaml", folder, monkeypatch)
    assert "not YAML" in line
    assert not (folder / "executed").exists()


# Arrays: right in kind, wrong in content

Arrays = dict[str, Any]


def put(name: str, change: Callable[[Any], Any]) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.update({name: change(arrays[name].copy())})


def at(place: Any, value: object) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[place] = value
        return array

    return change


def domain(**fields: object) -> Callable[[Arrays], object]:
    """What a source.npz says of its source, changed."""

    def change(arrays: Arrays) -> None:
        said = json.loads(arrays["domain"].tobytes()) | fields
        arrays["domain"] = np.frombuffer(json.dumps(said).encode(), np.uint8)

    return change


LATENTS = "snr_vae/d2-snr10/latents"
ARRAYS: dict[tuple[str, str], Callable[[Arrays], object]] = {
    (SOURCE, "no domain"): lambda a: a.clear(),
    (SOURCE, "an array more"): lambda a: a.update(extra=np.zeros(3)),
    (SOURCE, "points"): lambda a: a.update(points=np.zeros((9, 3), np.float32), label=np.zeros(9, np.uint8)),
    (SOURCE, "text"): put("domain", lambda _: np.frombuffer(b"hello", np.uint8)),
    (SOURCE, "float64"): put("domain", lambda x: x.astype(np.float64)),
    (SOURCE, "another source"): domain(name="sphere"),
    (SOURCE, "a hostile name"): domain(name="<script>\n"),
    (SOURCE, "another spread"): domain(spread=1.0),
    (SOURCE, "nan"): domain(factor=float("nan")),
    (SOURCE, "a coordinate less"): domain(mean=[0.5, 0.5]),
    (SOURCE, "a field more"): domain(colour="red"),
    (CUBE, "fewer points"): lambda a: a.update(train=a["train"][:-6], train_face=a["train_face"][:-6]),
    (CUBE, "two coordinates"): put("test", lambda x: x[:, :2]),
    (CUBE, "float64"): put("test", lambda x: x.astype(np.float64)),
    (CUBE, "nan"): put("validation", at((3, 1), np.nan)),
    (CUBE, "all nan"): put("train", at(..., np.nan)),
    (CUBE, "outside"): put("train", at((0, 0), 1.5)),
    (CUBE, "no such face"): put("test_face", at(0, 6)),
    (CUBE, "no split"): lambda a: a.pop("test"),
    (CUBE, "an array more"): lambda a: a.update(extra=np.zeros(3)),
    (CLOUDS, "nan"): put(LATENTS, at((0, 0), np.nan)),
    (CLOUDS, "inf"): put("ae/d1/generated", at(..., np.inf)),
    (CLOUDS, "float64"): put("ae/d1/latents", lambda x: x.astype(np.float64)),
    (CLOUDS, "text"): put("ae/d1/latents", lambda x: x.astype("U9")),
    (CLOUDS, "a dimension less"): put(LATENTS, lambda x: x[:, :1]),
    (CLOUDS, "points less"): put("snr_vae/d1-snr1/generated", lambda x: x[:-1]),
    (CLOUDS, "one number"): put("snr_vae/d1-snr1/generated", lambda _: np.float32(3)),
    (CLOUDS, "no cell"): lambda a: a.pop(LATENTS),
    (CLOUDS, "no arrays"): lambda a: a.clear(),
    (CLOUDS, "another cell"): lambda a: a.update({"ae/d9/latents": a["ae/d1/latents"]}),
    (CLOUDS, "a hostile name"): lambda a: a.update({"../../x\n<b>": a["ae/d1/latents"]}),
}


@pytest.mark.parametrize(("name", "fault"), ARRAYS)
def test_arrays_that_are_wrong_are_refused_by_name(
    name: str, fault: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = npz.from_bytes((folder / name).read_bytes())
    ARRAYS[name, fault](arrays)
    (folder / name).write_bytes(npz.to_bytes(arrays))
    (_,) = refused(READERS[name], name, folder, monkeypatch)


def test_an_archive_whose_parts_claim_to_be_huge_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**15, 3)}
    )
    with zipfile.ZipFile(folder / CUBE, "w") as archive:
        archive.writestr("train.npy", header.getvalue())
    (_,) = refused("train_ae", CUBE, folder, monkeypatch)


# Models

FIRST = "ae/d1/0"
MODELS: dict[str, Callable[[Arrays, Any], object]] = {
    "nan": lambda t, _: t[f"{FIRST}/encoder.0.weight"].fill_(torch.nan),
    "a nan": lambda t, _: t[f"{FIRST}/decoder.2.bias"][0].fill_(torch.nan),
    "another shape": lambda t, _: t.update({f"{FIRST}/encoder.0.weight": torch.zeros(16, 4)}),
    "noise for none": lambda _, c: c[FIRST]["cell"].update(noise="isotropic", snr=1.0),
    "an infinite snr": lambda _, c: c[FIRST]["cell"].update(noise="isotropic", snr=float("inf")),
    "a truth value": lambda _, c: c[FIRST]["cell"].update(latent_dim=True),
    "an infinite width": lambda _, c: c[FIRST]["network"].update(hidden_units=float("inf")),
    "a huge width": lambda _, c: c[FIRST]["network"].update(hidden_units=10**15),
    "a large width": lambda _, c: c[FIRST]["network"].update(hidden_units=16 * 10**7),
    "many layers": lambda _, c: c[FIRST]["network"].update(hidden_layers=10**9),
    "a huge bottleneck": lambda _, c: c[FIRST]["cell"].update(latent_dim=10**30),
    "no width": lambda _, c: c[FIRST]["network"].pop("hidden_units"),
    "no cell": lambda _, c: c[FIRST].pop("cell"),
    "an unknown network": lambda _, c: c[FIRST]["network"].update(kind="os"),
    "a hostile name": lambda _, c: c.update({"<script>\n": c.pop(FIRST)}),
}


@pytest.mark.parametrize("fault", MODELS)
def test_a_model_that_is_wrong_is_refused_by_name(
    fault: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (folder / AE).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    tensors, model = safetensors.torch.load(data), json.loads(header["__metadata__"][models.METADATA])
    MODELS[fault](tensors, model[models.CODECS])
    (folder / AE).write_bytes(safetensors.torch.save(tensors, {models.METADATA: json.dumps(model)}))
    (_,) = refused("evaluate", AE, folder, monkeypatch)


def test_a_model_of_lists_in_lists_without_end_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = {models.METADATA: "[" * 100_000}
    (folder / AE).write_bytes(safetensors.torch.save({"weight": torch.zeros(2)}, deep))
    (_,) = refused("evaluate", AE, folder, monkeypatch)


def test_models_of_the_other_kind_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(folder / VAE, folder / AE)
    (_,) = refused("evaluate", AE, folder, monkeypatch)


@pytest.mark.parametrize("value", [3e38, 1e20])
def test_a_model_of_absurd_numbers_is_told_by_its_cell_and_writes_nothing(
    value: float, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = safetensors.torch.load((folder / VAE).read_bytes())
    with safetensors.safe_open(folder / VAE, "pt") as opened:
        metadata = opened.metadata()
    for part in ("encoder", "decoder"):
        tensors[f"snr_vae/d2-snr1/0/{part}.0.weight"].fill_(value)
    (folder / VAE).write_bytes(safetensors.torch.save(tensors, metadata))
    before = contents(folder)
    with pytest.raises(SystemExit) as caught:
        run("evaluate", monkeypatch)
    (line,) = str(caught.value.code).splitlines()
    assert "snr_vae/d2-snr1/0: " in line
    assert contents(folder) == before


# Tables


def cell(column: str, value: str, row: int = 2) -> Callable[[list[list[str]]], object]:
    return lambda rows: rows[row].__setitem__(rows[0].index(column), value)


def without(column: str) -> Callable[[list[list[str]]], object]:
    def change(rows: list[list[str]]) -> None:
        place = rows[0].index(column)
        for row in rows:
            del row[place]

    return change


TABLES: dict[tuple[str, str], Callable[[list[list[str]]], object]] = {
    (CELLS, "foreign"): lambda rows: rows.__setitem__(slice(None), [["a", "b"], ["1", "2"]]),
    (CELLS, "no rows"): lambda rows: rows.__delitem__(slice(1, None)),
    (CELLS, "a row less"): lambda rows: rows.pop(),
    (CELLS, "a row twice"): lambda rows: rows.append(rows[-1]),
    (CELLS, "no mse"): without("mse"),
    (CELLS, "no model"): without("model"),
    (CELLS, "no selected"): without("selected"),
    (CELLS, "mse as text"): cell("mse", "0.0172x"),
    (CELLS, "mse empty"): cell("mse", ""),
    (CELLS, "mse infinite"): cell("mse", "inf"),
    (CELLS, "mse negative"): cell("mse", "-1"),
    (CELLS, "mse 0"): cell("mse", "0"),
    (CELLS, "mse huge"): cell("mse", "1e308"),
    (CELLS, "mse true"): cell("mse", "True"),
    (CELLS, "negative error"): cell("mse_stderr", "-1"),
    (CELLS, "no gap"): cell("gap_db", "", 3),
    (CELLS, "no capacity"): cell("capacity_bits", "", 3),
    (CELLS, "unknown noise"): cell("noise", "pink", 3),
    (CELLS, "hostile noise"): cell("noise", "<script>\x1b[2J|", 3),
    (CELLS, "unknown model"): cell("model", "[x](http://y)", 3),
    (CELLS, "another dimension"): cell("latent_dim", "9"),
    (CELLS, "dimension as text"): cell("latent_dim", "one"),
    (CELLS, "dimension empty"): cell("latent_dim", ""),
    (CELLS, "another snr"): cell("snr", "3", 3),
    (CELLS, "none selected"): cell("selected", "0"),
    (CELLS, "selected 2"): cell("selected", "2"),
    (TRAINING_AE, "no rows"): lambda rows: rows.__delitem__(slice(1, None)),
    (TRAINING_AE, "no step"): without("step"),
    (TRAINING_AE, "a date"): cell("step", "2026-01-01"),
    (TRAINING_AE, "mse empty"): cell("mse", ""),
    (TRAINING_VAE, "mse as text"): cell("mse", "much"),
    (TRAINING_VAE, "infinite"): cell("learning_rate", "inf"),
    (TRAINING_VAE, "unknown noise"): cell("noise", "pink"),
    (TRAINING_VAE, "a repeat more"): cell("repeat", "7"),
    (LIMIT, "no distortion"): without("distortion"),
    (LIMIT, "no method"): without("method"),
    (LIMIT, "a row less"): lambda rows: rows.pop(),
    (LIMIT, "out of order"): lambda rows: rows.reverse() or rows.insert(0, rows.pop()),
    (LIMIT, "distortion as text"): cell("distortion", "x"),
    (LIMIT, "distortion nan"): cell("distortion", "nan"),
    (LIMIT, "rates crossed"): cell("rate_lower_bits", "5"),
    (LIMIT, "distortion negative"): cell("distortion", "-1", -1),
}


@pytest.mark.parametrize(("name", "fault"), TABLES)
def test_a_table_that_is_wrong_is_refused_by_name(
    name: str, fault: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [line.split(",") for line in (folder / name).read_text().splitlines()]
    TABLES[name, fault](rows)
    (folder / name).write_text("".join(f"{','.join(row)}\n" for row in rows))
    (_,) = refused("render", name, folder, monkeypatch)


def test_the_training_of_the_other_kind_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(folder / TRAINING_VAE, folder / TRAINING_AE)
    (_,) = refused("render", TRAINING_AE, folder, monkeypatch)


@pytest.mark.parametrize(
    "data",
    [
        "[]",
        "null",
        "{}",
        '{"summary": 3}',
        '{"summary": {}}',
        '{"summary": {"ae_best_mse": 1}}',
        "[" * 100_000,
        '{"summary": NaN}',
    ],
    ids=["list", "null", "nothing", "a number", "empty", "too little", "deep", "nan"],
)
def test_metrics_that_are_no_tree_are_refused(
    data: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / METRICS).write_text(data)
    (_,) = refused("render", METRICS, folder, monkeypatch)


@pytest.mark.parametrize("value", [None, "<b>", "nan", [1], {}, float("nan"), float("inf"), 10**400, True])
def test_a_summary_that_is_no_number_is_refused(
    value: object, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = json.loads((folder / METRICS).read_text())
    tree["summary"]["mean_gap_db"] = value
    (folder / METRICS).write_text(json.dumps(tree))
    (line,) = refused("render", METRICS, folder, monkeypatch)
    assert "summary.mean_gap_db" in line


@pytest.mark.parametrize(
    "pin",
    ["torch", "torch==", "torch>=2", "torch==2.0<script>alert(1)</script>", "torch==[x](y)", "torch==2|3"],
)
def test_a_lock_whose_version_is_none_is_refused(
    pin: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (folder / LOCK).read_text().splitlines()
    (folder / LOCK).write_text("\n".join(pin if line.startswith("torch==") else line for line in lines))
    (line,) = refused("render", LOCK, folder, monkeypatch)
    assert "torch" in line


# Whatever the damage: a reader refuses in one line, or what it gives is whole

Decode = Callable[[bytes], object]


def decoders(settings: Params) -> dict[str, Decode]:
    every = grid.autoencoders(settings) + grid.snr_vaes(settings)
    count = settings.data.test_points
    return {
        SOURCE: record.from_bytes,
        CUBE: lambda data: dataset.from_bytes(cube.SOURCE.domain, data, settings.data.counts),
        AE: lambda data: models.of_run(data, ("none",), cube.SOURCE.domain, 0),
        VAE: lambda data: models.of_run(data, params.NOISES, cube.SOURCE.domain, 0),
        CLOUDS: lambda data: samples.from_bytes(data, every, (count, 3)),
        CELLS: lambda data: metrics.from_csv(data, every, cube.SOURCE),
        LIMIT: shannon.table_from_csv,
        ONE_POINT: lambda data: prices.from_csv(data, "cube"),
        CLOSER: gains.from_csv,
        TRAINING_AE: lambda data: history.from_csv(data, grid.autoencoders(settings)),
        TRAINING_VAE: lambda data: history.from_csv(data, grid.snr_vaes(settings)),
        LOCK: report.locked_versions,
        "params.yaml": lambda data: params.from_yaml(data.decode()),
    }


@pytest.mark.parametrize("name", [*READERS, "params.yaml"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_flipped_bit_or_a_cut_is_refused_in_lines_or_harmless(
    whole: Path, name: str, place: float, bit: int, cut: bool
) -> None:
    data = bytearray((whole / name).read_bytes())
    position = int(place * len(data))
    data[position] ^= 1 << bit
    if cut:
        del data[position:]
    valid = params.from_yaml((whole / "params.yaml").read_text())
    every = grid.autoencoders(valid) + grid.snr_vaes(valid)
    table = metrics.from_csv((whole / CELLS).read_bytes(), every, cube.SOURCE)
    decode: Decode = (decoders(valid) | {METRICS: lambda found: metrics.from_json(found, table)})[name]
    try:
        decode(bytes(data))
    except ValueError as error:
        assert str(error)
        assert all(line.isprintable() for line in str(error).splitlines())


# The source itself

FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "np.load",
    "pd.read_pickle",
    "yaml.unsafe_load",
}


def sources() -> list[Path]:
    return [path for folder in ("snrvae", "stages") for path in (ROOT / folder).rglob("*.py")]


def dangers(source: str) -> list[str]:
    """What in a source could execute what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if node.module and node.module.split(".")[0] in FORBIDDEN else []
        elif isinstance(node, ast.Call):
            name, options = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name in CALLS or options.get("allow_pickle", "False") != "False":
                found.append(ast.unparse(node))
            if name == "yaml.load" and options.get("Loader") != "_Loader":
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "eval(text)",
        "exec(text)",
        "torch.load(path)",
        "np.load(path)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
    ],
)
def test_what_executes_a_file_would_be_seen(source: str) -> None:
    assert dangers(source)


def test_no_source_executes_what_a_file_says() -> None:
    assert issubclass(params._Loader, yaml.SafeLoader)
    assert {str(path): dangers(path.read_text()) for path in sources() if dangers(path.read_text())} == {}
