"""The compiled step of snrvae.training, in a thread for each core."""

from typing import Any
from unittest.mock import patch

from numba import njit

from benchmarks.setting import Mses, Setting, Way
from snrvae.training import step
from snrvae.training.pool import Trainer


def prepare(setting: Setting, trainer: Trainer) -> Way:
    """`trainer` holds the setting's points and recipe."""

    def train() -> Mses:
        _, histories = trainer.fit(setting.cells, lambda *_: None)
        return {
            cell: float(losses[0])
            for history in histories
            for cell, losses in zip(history.cells, history.losses[-1], strict=True)
        }

    return Way("this project", setting.recipe.train.steps, train)


def without_penalty(setting: Setting, trainer: Trainer) -> Way:
    """The same, for peers that have no latent penalty: its step is compiled from the same code without T."""
    way = prepare(setting, trainer)
    bare = njit(step.train.py_func, **step.COMPILER | {"cache": False})

    def train() -> Mses:
        # what stands for T is compiled in at the first call, and `training` calls what stands for the step
        with patch.object(step, "gaussianity", _nothing), patch.object(step, "train", bare):
            return way.train()

    return Way("this project, without the latent penalty", way.steps, train, penalty=False)


@njit
def _nothing(*_: Any) -> Any:
    return step.ZERO
