"""Engines: each trains what it can where it can, and is refused elsewhere in a line that says what to do."""

import pytest
import torch
import yaml
from conftest import MakeConfig

from snrvae.settings import params
from snrvae.settings.params import Params
from snrvae.sources.domain import Split
from snrvae.training import engines
from snrvae.training.autograd import Autograd
from snrvae.training.pool import Pool
from tests.repository import ROOT

ADDRESS = "tcp://127.0.0.1:8786"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(engines.CLUSTER, raising=False)


def settings(engine: str) -> Params:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    return params.from_yaml(yaml.safe_dump(tree | {"train": tree["train"] | {"engine": engine}}))


def refusal(engine: str) -> str:
    with pytest.raises(ValueError) as caught:
        engines.check(settings(engine))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"params.yaml: train.engine: {engine} ")
    return line


def test_cuda_without_a_gpu_is_refused_with_the_engines_that_need_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = refusal("cuda")
    assert "GPU" in line
    assert line.endswith("expected compiled or torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    engines.check(settings("cuda"))


@pytest.mark.parametrize("engine", ["torch", "cuda"])
def test_an_engine_of_one_machine_is_refused_beside_a_cluster(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(engines.CLUSTER, ADDRESS)
    line = refusal(engine)
    assert engines.CLUSTER == "DASK_SCHEDULER_ADDRESS"
    assert engines.CLUSTER in line
    assert line.endswith("expected compiled")
    monkeypatch.setenv(engines.CLUSTER, "")
    engines.check(settings(engine))


def test_the_compiled_engine_runs_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    engines.check(settings("compiled"))
    monkeypatch.setenv(engines.CLUSTER, ADDRESS)
    engines.check(settings("compiled"))


@pytest.mark.parametrize(("engine", "trainer"), [("compiled", Pool), ("torch", Autograd)])
def test_an_engine_has_its_trainer(
    engine: str, trainer: type, splits: dict[str, Split], config: MakeConfig
) -> None:
    with engines.connect(splits["train"].points, config(engine=engine)) as connected:
        assert type(connected) is trainer
