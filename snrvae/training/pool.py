"""The compiled engine on the machine's cores: cells side by side, a thread for each core.

Threads are enough, without processes, since compiled steps release Python's global lock. All threads share
one copy of the points, and no process has to be started or receive data.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event, Lock

from threadpoolctl import threadpool_limits

from snrvae.settings import fingerprint
from snrvae.settings.grid import Cell
from snrvae.sources.domain import Points
from snrvae.training.compiled import engine
from snrvae.training.config import TrainConfig
from snrvae.training.trainer import Made, Progress, StoppedError, Trained, Trainer


class Pool(Trainer):
    """Threads that train cells on the same inputs [n, k + l]."""

    def __init__(self, inputs: Points, config: TrainConfig, threads: int):
        self._inputs, self._config, self._threads = inputs, config, threads

    def train(self, cells: Sequence[Cell], progress: Progress) -> Generator[Made, None, None]:
        """Each cell as soon as it is trained. An error in one cell soon ends the others too."""
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
                for future in as_completed(futures):
                    yield future.result(), fingerprint.kind()
            except BaseException:
                stop.set()
                executor.shutdown(wait=False, cancel_futures=True)
                raise
