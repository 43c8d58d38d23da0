"""The compiled engine over the machine's cores: cells side by side, a thread for each core.

Threads and not processes: compiled steps leave Python's lock to the others, so that all share one copy of the
points, and nothing has to be started or sent.
"""

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event, Lock

from threadpoolctl import threadpool_limits

from snrvae.settings.grid import Cell
from snrvae.sources.source import Points
from snrvae.training.compiled import engine
from snrvae.training.config import TrainConfig
from snrvae.training.trainer import Progress, StoppedError, Trained, Trainer


class Pool(Trainer):
    """Threads that train cells on the same inputs [n, k + l]."""

    def __init__(self, inputs: Points, config: TrainConfig, threads: int):
        self._inputs, self._config, self._threads = inputs, config, threads

    def train(self, cells: Sequence[Cell], progress: Progress) -> list[Trained]:
        """Each cell trained, in the order given; what ends one ends the others in a moment."""
        stop, lock = Event(), Lock()

        def advance(steps: int, mse: float) -> None:
            if stop.is_set():
                raise StoppedError
            with lock:
                progress(steps, mse)

        def fit(cell: Cell) -> Trained:
            return engine.fit(cell, self._inputs, self._config, advance)

        with threadpool_limits(1), ThreadPoolExecutor(self._threads) as executor:
            futures = [executor.submit(fit, cell) for cell in cells]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
                return [future.result() for future in futures]
            except BaseException:
                stop.set()
                executor.shutdown(wait=False, cancel_futures=True)
                raise
