"""This project's engines: the compiled step in a thread for each core, and autograd over the codec."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

from numba import njit

from benchmarks.setting import Mses, Setting, Way
from snrvae.training.autograd import Autograd
from snrvae.training.compiled import kernel, step
from snrvae.training.trainer import Trainer


def prepare(setting: Setting, trainer: Trainer, name: str = "this project") -> Way:
    """`trainer` holds the setting's points and config."""

    def train() -> Mses:
        trained = trainer.fit(setting.cells, lambda *_: None)
        return {history.cell: float(history.losses[-1, 0]) for _, history in trained}

    return Way(name, setting.config.train.steps, train)


def autograd(setting: Setting) -> Way:
    """The engine torch, which trains any network and loss."""
    train = setting.config.train.model_copy(update={"engine": "torch"})
    trainer = Autograd(setting.points, replace(setting.config, train=train))
    return prepare(setting, trainer, "this project, engine torch")


def without_penalty(setting: Setting, trainer: Trainer) -> Way:
    """The same, for peers that have no latent penalty: its step is compiled from the same code without T."""
    way = prepare(setting, trainer)
    bare = njit(step.train.py_func, **kernel.COMPILER)  # type: ignore[attr-defined]

    def train() -> Mses:
        # T's replacement is compiled in at the first call, and the engine calls the replaced step
        with patch.object(step, "gaussianity", _nothing), patch.object(step, "train", bare):
            return way.train()

    return Way("this project, without the latent penalty", way.steps, train, penalty=False)


@njit
def _nothing(*_: Any) -> Any:
    return kernel.ZERO
