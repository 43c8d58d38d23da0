"""The interface that all ways to train a grid share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from snrvae.codecs.codec import Codec
from snrvae.settings import fingerprint, grid
from snrvae.settings.grid import Cell
from snrvae.training.history import History

Progress = Callable[[int, float], None]  # (cell-steps done since the last call, their mean mse)
Trained = tuple[Codec, History]
Made = tuple[Trained, str]  # and the kind of processor that trained it
Keep = Callable[[Trained, str], None]


class StoppedError(RuntimeError):
    """Training was stopped: another cell failed."""


class Trainer(ABC):
    """Trains cells on the inputs that it was created with."""

    def fit(self, cells: Sequence[Cell], progress: Progress, keep: Keep | None = None) -> list[Trained]:
        """Train every cell, cells of one shape together; `keep` receives each as soon as it is trained.

        Raises DivergedError, naming the cell, if a loss is not finite, and OSError if a machine at
        work is lost.
        """
        ordered = [cell for group in grid.groups(cells) for cell in group]
        found: dict[Cell, Trained] = {}
        with closing(self.train(ordered, progress)) as trained:
            for one, made_on in trained:
                found[one[0].architecture.cell] = one
                if keep is not None:
                    keep(one, made_on)
        return [found[cell] for cell in ordered]

    @property
    def processors(self) -> list[str]:
        """The kinds of processors on which cells are trained."""
        return [fingerprint.kind()]

    @abstractmethod
    def train(self, cells: Sequence[Cell], progress: Progress) -> Generator[Made, None, None]:
        """Each cell as soon as it is trained."""
