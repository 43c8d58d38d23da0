"""Memory: what a run will need is known before it begins, and what no machine has is refused at once."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from conftest import draw_splits

from snrvae.codecs import codec, losses
from snrvae.measurement import density
from snrvae.settings import memory, params
from snrvae.settings.grid import Cell
from snrvae.settings.params import Params
from snrvae.sources import cube, dataset, record
from snrvae.training import batches
from tests.repository import ROOT

TREE = yaml.safe_load((ROOT / "params.yaml").read_text())
MACHINE = 32e9
FILES = ["source.npz", "cube.npz", "ae.safetensors", "training.csv"]
TORCH = {"train": {"engine": "torch"}}


def settings(**changed: Any) -> Params:
    tree = {
        key: value | changed.pop(key, {}) if isinstance(value, dict) else value for key, value in TREE.items()
    }
    return params.from_yaml(yaml.safe_dump(tree | changed))


def test_the_defaults_fit_a_small_machine() -> None:
    memory.check(settings(), "check", cores=2, available=2e9)


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("data.train_points", {"data": {"train_points": 999_999_996}}),
        ("data.test_points", {"data": {"test_points": 99_999_996}}),
        ("data.validation_points", {"data": {"validation_points": 999_999_996}}),
        ("network.hidden_units", {"network": {"hidden_units": 65536}}),
        ("network.hidden_units", {"network": {"hidden_units": 10**9 - 10**9 % 16}}),
        ("network.hidden_layers", {"network": {"hidden_layers": 10**9}}),
        ("network.hidden_layers", {"network": {"hidden_layers": 10**6}}),
        (
            "train.batch_size",
            {"data": {"train_points": 12_000_000}, "train": {"batch_size": 10_000_000}},
        ),
        ("train.repeats", {"train": {"repeats": 10**6}}),
        ("train.repeats", {"train": {"repeats": 10**9}}),
        ("latent_dim", {"latent_dim": 10**6}),
        ("latent_dim", {"latent_dim": [1, 10**9]}),
    ],
)
def test_a_run_that_no_machine_holds_is_refused_with_what_to_lower(key: str, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        memory.check(settings(**changed), "check", cores=2, available=MACHINE)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"params.yaml: {key}: the run needs about ")
    assert line.endswith("32 GB are free; lower it")


def test_a_grid_may_be_too_much_though_each_cell_is_not() -> None:
    wide = {"latent_dim": [2], "data": {"test_points": 6_000_000}}
    memory.check(settings(**wide, snr=1.0), "check", cores=1, available=MACHINE)
    with pytest.raises(ValueError, match=r"test_points|repeats|snr"):
        memory.check(settings(**wide, snr=[*range(1, 65)], train={"repeats": 10}), "check", 1, MACHINE)


@pytest.mark.parametrize("engine", ["compiled", "torch", "cuda"])
@pytest.mark.parametrize("key", memory.LEAST)
def test_more_of_anything_never_needs_less(key: str, engine: str) -> None:
    chosen = settings(train={"engine": engine})
    for stage in ("generate", "train_ae", "train_vae", "evaluate"):
        less = memory.estimate(memory._lowered(chosen, key), stage, 2)
        assert less <= memory.estimate(chosen, stage, 2) <= memory.estimate(chosen, stage, 4)


def test_the_torch_engine_holds_all_cells_of_a_shape_and_the_compiled_one_a_cell_for_each_core() -> None:
    def held(engine: str, snrs: int, cores: int) -> float:
        few = {"engine": engine, "batch_size": 8192, "repeats": 1}
        chosen = settings(snr=[*range(1, snrs + 1)], train=few, noise="isotropic", latent_dim=1)
        return memory.estimate(chosen, "train_vae", cores)

    assert held("torch", 32, 2) == held("torch", 32, 16)
    assert held("torch", 32, 1) - held("torch", 1, 1) > 10 * (
        held("compiled", 32, 1) - held("compiled", 1, 1)
    )
    assert held("compiled", 32, 16) > held("compiled", 32, 2)


@pytest.mark.parametrize("kind", ["mlp", "residual"])
@pytest.mark.parametrize(("noise", "heads"), [("isotropic", 1), ("learned", 2)])
def test_the_parameters_are_those_of_a_codec(kind: str, noise: str, heads: int) -> None:
    chosen = settings(network={"kind": kind}, train={"engine": "torch"})
    for labels, size in ((0, memory.Size()), (6, memory.Size(3, 6))):
        made = codec.Architecture(Cell(noise, 2, 4.0, 0), chosen.network, labels, cube.SOURCE.domain, "torch")
        count = sum(parameter.numel() for parameter in codec.Codec(made).parameters())
        assert memory._parameters(chosen, size, 2, heads) == pytest.approx(count, rel=0.01)


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_more_coordinates_and_labels_need_more(engine: str) -> None:
    chosen = settings(data={"train_points": 10**6}, train={"engine": engine})
    for stage in ("train_ae", "train_vae", "evaluate"):
        small, wide, told = (
            memory.estimate(chosen, stage, 2, memory.Size(*size)) for size in ((3, 0), (64, 0), (64, 10))
        )
        assert wide - small > 4 * 61 * 10**6
        assert told - wide > 4 * 10 * 10**6
    many = memory.Size(64), memory.Size(64, 10)
    assert len({memory.estimate(chosen, "generate", 2, size) for size in many}) == 1
    with pytest.raises(ValueError, match=r"^params.yaml: data.train_points: the run needs about "):
        memory.check(chosen, "train_ae", 2, 2e9, size=memory.Size(1024))
    memory.check(chosen, "train_ae", 2, 2e9)


def test_a_stage_asks_for_itself_alone_and_the_check_for_all() -> None:
    many = settings(data={"test_points": 60_000_000})
    assert memory.estimate(many, "rate_distortion", 2) == 0
    assert memory.estimate(many, "check", 2) == memory.estimate(many, "evaluate", 2)
    assert memory.estimate(many, "generate", 2) < memory.estimate(many, "evaluate", 2) / 10


def test_the_numbers_of_other_modules_are_theirs() -> None:
    assert (memory.GROUP, memory.DRAWN, memory.PASS) == (losses.GROUP, batches.DRAWN, codec.PASS)
    assert (memory.FITTED, memory.COMPONENTS) == (density.POINTS, density.COMPONENTS)


@pytest.mark.slow
def test_a_stage_refuses_before_it_reads_or_writes(tmp_path: Path) -> None:
    tree = TREE | {"network": TREE["network"] | {"hidden_units": 2**29}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "source.npz").write_bytes(record.to_bytes(cube.SOURCE))
    for stage, *paths in (["check"], ["train_ae", *FILES]):
        done = subprocess.run(
            [sys.executable, "-m", f"stages.{stage}", *paths],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{stage}: params.yaml: network.hidden_units: the run needs about ")
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "source.npz"}


def peak(command: list[str], folder: Path) -> int:
    """Most bytes that a process held at once (shared pages counted once)."""
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    )
    most, seen = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            most = max(most, seen.memory_info().rss - seen.memory_info().shared)
        except psutil.Error:
            continue
        time.sleep(0.005)
    assert process.returncode == 0
    return most


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the shared pages of a process")
@pytest.mark.parametrize(
    ("stage", "changed"),
    [
        ("generate", {"data": {"train_points": 6_000_000}}),
        ("train_ae", {"data": {"train_points": 3_000_000}, "train": {"batch_size": 8192}}),
        ("train_ae", {"network": {"hidden_units": 1024}, "data": {"train_points": 600}}),
        ("train_ae", {"data": {"train_points": 60_000}, "train": {"batch_size": 60_000}}),
        ("train_ae", {"train": {"engine": "torch"}}),
        ("train_ae", TORCH | {"network": {"hidden_units": 1024}, "data": {"train_points": 600}}),
        ("train_ae", TORCH | {"network": {"kind": "residual", "hidden_units": 1024, "activation": "silu"}}),
        ("train_vae", {"snr": [*range(1, 9)], "train": {"engine": "torch", "batch_size": 8192}}),
        (
            "train_vae",
            {
                "network": {"activation": "silu"},
                "snr": [*range(1, 9)],
                "train": {"engine": "torch", "repeats": 2, "batch_size": 2048},
            },
        ),
        ("train_ae", {"train": {"engine": "torch", "batch_size": 2048, "mmd_weight": 1.0}}),
    ],
)
def test_the_estimate_is_within_a_factor_of_two_of_what_a_process_holds(
    stage: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    few = {"steps": 2, "repeats": 1, "batch_size": 16}
    chosen = settings(latent_dim=[1], **(changed | {"train": few | changed.get("train", {})}))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(chosen.model_dump(mode="json")))
    paths = ["raw", "cube.npz", "source.npz"] if stage == "generate" else FILES
    if stage != "generate":
        splits = draw_splits(cube.SOURCE, chosen.data.counts)
        (tmp_path / "cube.npz").write_bytes(dataset.to_bytes(splits))
        (tmp_path / "source.npz").write_bytes(record.to_bytes(cube.SOURCE))
        del splits
    seen = peak([sys.executable, "-m", f"stages.{stage}", *paths], tmp_path)
    estimated = memory.estimate(chosen, stage, 1)
    print(f"{stage}: estimated {estimated / 1e6:.0f} MB, seen {seen / 1e6:.0f} MB")
    assert seen / 2 < estimated < seen * 2
