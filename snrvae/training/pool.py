"""The grid over the machine's cores: cells side by side, a thread for each core.

Threads and not processes: compiled steps leave Python's lock to the others, so that all share one copy of the
points, and nothing has to be started or sent.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event, Lock

from threadpoolctl import threadpool_limits

from snrvae.codecs import codec
from snrvae.codecs.codec import Codecs
from snrvae.formats.records import History
from snrvae.settings import grid
from snrvae.settings.grid import Cell
from snrvae.sources.source import Points
from snrvae.training import loop
from snrvae.training.loop import Progress, Recipe

Trained = tuple[Codecs, History]


class StoppedError(RuntimeError):
    """Training was stopped: another cell failed."""


class Trainer(ABC):
    """Trains cells on inputs that it was given once."""

    def fit(self, cells: Sequence[Cell], progress: Progress) -> tuple[list[Codecs], list[History]]:
        """Train every cell; one batch of codecs per shape, one history per cell.

        Raises DivergedError, naming the cell, where a loss is not finite, and OSError where machines at work
        are lost.
        """
        ordered = [cell for group in grid.groups(cells) for cell in group]
        trained = dict(zip(ordered, self.train(ordered, progress), strict=True))
        codecs = [codec.concatenate([trained[cell][0] for cell in group]) for group in grid.groups(cells)]
        return codecs, [history for _, history in trained.values()]

    @abstractmethod
    def train(self, cells: Sequence[Cell], progress: Progress) -> list[Trained]:
        """Each cell trained, in the order given."""


class Pool(Trainer):
    """Threads that train cells on the same inputs [n, 3 + l]."""

    def __init__(self, inputs: Points, recipe: Recipe, threads: int):
        self._inputs, self._recipe, self._threads = inputs, recipe, threads

    def train(self, cells: Sequence[Cell], progress: Progress) -> list[Trained]:
        """Each cell trained, in the order given; what ends one ends the others in a moment."""
        stop, lock = Event(), Lock()

        def tell(steps: int, mse: float) -> None:
            if stop.is_set():
                raise StoppedError
            with lock:
                progress(steps, mse)

        with threadpool_limits(1), ThreadPoolExecutor(self._threads) as executor:
            futures = [executor.submit(loop.fit, (cell,), self._inputs, self._recipe, tell) for cell in cells]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
                return [future.result() for future in futures]
            except BaseException:
                stop.set()
                executor.shutdown(wait=False, cancel_futures=True)
                raise
