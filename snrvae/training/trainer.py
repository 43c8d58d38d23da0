"""What all ways to train a grid have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from snrvae.codecs.codec import Codec
from snrvae.settings import grid
from snrvae.settings.grid import Cell
from snrvae.training.history import History

Progress = Callable[[int, float], None]  # (cell-steps done since the last call, their mean mse)
Trained = tuple[Codec, History]


class StoppedError(RuntimeError):
    """Training was stopped: another cell failed."""


class Trainer(ABC):
    """Trains cells on inputs that it was given once."""

    def fit(self, cells: Sequence[Cell], progress: Progress) -> list[Trained]:
        """Every cell trained, cells of one shape together.

        Raises DivergedError, naming the cell, if a loss is not finite, and OSError if machines at work are
        lost.
        """
        return self.train([cell for group in grid.groups(cells) for cell in group], progress)

    @abstractmethod
    def train(self, cells: Sequence[Cell], progress: Progress) -> list[Trained]:
        """Each cell trained, in the order given."""
