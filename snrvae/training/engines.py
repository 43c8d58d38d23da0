"""Which engine trains a run: compiled on this machine's cores or a cluster, torch, or cuda."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from snrvae.settings.params import Params
from snrvae.sources.domain import Points
from snrvae.training.autograd import Autograd
from snrvae.training.config import TrainConfig
from snrvae.training.pool import Pool
from snrvae.training.trainer import Trainer

CLUSTER = "DASK_SCHEDULER_ADDRESS"  # Dask's own name for this variable


def check(params: Params) -> None:
    """Raise ValueError if this machine cannot run the engine. Settings check what an engine can train."""
    engine = params.train.engine
    if engine == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "params.yaml: train.engine: cuda needs a GPU that PyTorch finds, and there is none; "
            "expected compiled or torch"
        )
    if engine != "compiled" and os.environ.get(CLUSTER):
        raise ValueError(
            f"params.yaml: train.engine: {engine} trains on this machine, but {CLUSTER} is set; "
            f"unset it, or expected compiled"
        )


def connect(inputs: Points, config: TrainConfig) -> AbstractContextManager[Trainer]:
    """The trainer of the engine; for `compiled` it is a cluster if the environment names a scheduler."""
    engine, address = config.train.engine, os.environ.get(CLUSTER)
    if engine != "compiled":
        return nullcontext(Autograd(inputs, config, "cuda" if engine == "cuda" else "cpu"))
    if not address:
        return nullcontext(Pool(inputs, config, torch.get_num_threads()))
    try:
        from snrvae.training import cluster  # noqa: PLC0415 - Dask is an extra
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{CLUSTER} is set, but there is no package {error.name}; "
            "install it: python -m pip install -r requirements-dev.lock"
        ) from None
    return cluster.connect(address, inputs, config)
