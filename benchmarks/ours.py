"""The compiled step of snrvae.training, in a thread for each core."""

from benchmarks.setting import Mses, Setting, Way
from snrvae.pool import Trainer


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
