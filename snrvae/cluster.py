"""The grid over a Dask cluster: blocks of cells side by side, on as many machines as it has.

Dask runs a block again whose worker died, on another one. Scheduler, workers and this process have to run the
same code on the same versions, and are held to it before anything is trained.
"""

import hashlib
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import dask
import numpy as np
import torch
from distributed import Client, Future, KilledWorker, as_completed, get_worker
from distributed.versions import VersionMismatchWarning
from numpy.typing import NDArray

from snrvae.pool import Block, StoppedError, Trained, Trainer, train_block
from snrvae.training import Progress, Recipe

PATIENCE = 10.0  # seconds within which a scheduler answers and a first worker is there
CURE = "start it again in a clone of this commit, with the packages of requirements-dev.lock"

# As it was loaded: a worker that has been up since before a `git pull` runs the old code.
_CODE = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
).hexdigest()[:12]


class Cluster(Trainer):
    """Workers of a Dask cluster that train blocks of cells on the same inputs [n, 3 + l]."""

    def __init__(self, client: Client, inputs: NDArray[np.float32], recipe: Recipe):
        self._client, self._recipe = client, recipe
        # A task, not scattered data: it is run again where the last worker that held the inputs died.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            self._inputs: Future[NDArray[np.float32]] = client.submit(np.asarray, inputs, pure=False)
        client.replicate(self._inputs)

    def train(self, blocks: Sequence[Block], progress: Progress) -> list[Trained]:
        """Each block trained, in the order given; `progress` hears of a block when it is done.

        Raises ConnectionError where the scheduler is lost, ChildProcessError where a block's workers die.
        """
        futures = self._client.map(
            _train,
            blocks,
            inputs=self._inputs,
            recipe=self._recipe,
            expected=environment(),
            pure=False,
        )
        trained: dict[object, Trained] = {}
        try:
            for future in as_completed(futures, loop=self._client.loop):
                _, history = trained[future.key] = future.result()
                cell_steps = self._recipe.train.steps * len(history.cells)
                progress(cell_steps, float(history.losses[-1, :, 0].mean()))
        except CancelledError:
            raise ConnectionError(f"{_address(self._client)}: the scheduler is gone") from None
        except KilledWorker as error:
            raise ChildProcessError(
                f"{_address(self._client)}: {error.allowed_failures + 1} workers died at the same block, "
                f"the last one {error.last_worker.address} (out of memory?)"
            ) from None
        return [trained[future.key] for future in futures]


@contextmanager
def connect(
    address: str, inputs: NDArray[np.float32], recipe: Recipe, patience: float = PATIENCE
) -> Iterator[Cluster]:
    """The cluster whose scheduler is at `address`, such as tcp://10.0.0.1:8786.

    On leaving the context, by an error or an interrupt too, the cluster drops what it holds for us, and
    running blocks end at their next record.
    Raises ValueError or OSError, in one line, where it cannot be reached, has no workers, or differs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # _check says it in a line
        try:
            client = Client(address, timeout=patience, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"{address}: no Dask scheduler answers there ({str(error).splitlines()[0]}); "
                "start one: python -m dask scheduler"
            ) from None
    with client:
        _check(client, patience)
        yield Cluster(client, inputs, recipe)


def environment() -> dict[str, str]:
    """What a block's bits depend on besides cells, inputs and recipe: versions, and snrvae's sources."""
    packages = {name: version(name) for name in ("torch", "numpy", "distributed")}
    return {"python": platform.python_version(), **packages, "snrvae's code": _CODE}


def _check(client: Client, patience: float) -> None:
    try:
        client.wait_for_workers(1, timeout=patience)
    except TimeoutError:
        address = _address(client)
        raise ConnectionError(
            f"{address}: the cluster has no workers; start some: python -m dask worker {address} --nthreads 1"
        ) from None
    try:
        on_scheduler = client.run_on_scheduler(environment)
    except Exception as error:
        on_scheduler = error
    _compare(f"scheduler {_address(client)}", environment(), on_scheduler)
    for address, found in client.run(environment, on_error="return").items():
        _compare(f"worker {address}", environment(), found)


def _compare(who: str, expected: Mapping[str, str], found: Mapping[str, str] | Exception) -> None:
    """Raise ValueError unless what was found is what is expected."""
    if isinstance(found, Exception):
        raise ValueError(f"{who}: cannot load this project ({found}); {CURE}")
    for name, right in expected.items():
        if found[name] != right:
            raise ValueError(f"{who}: {name} is {found[name]}, but {right} here; {CURE}")


def _address(client: Client) -> str:
    return str(client.scheduler_info(n_workers=0)["address"])


def _train(block: Block, inputs: NDArray[np.float32], recipe: Recipe, expected: Mapping[str, str]) -> Trained:
    """A block trained on a worker."""
    worker = get_worker()
    _compare(f"worker {worker.address}", expected, environment())  # it may have come after the check
    task = worker.state.tasks[worker.get_current_task()]

    def progress(*_: float) -> None:
        if task.state == "cancelled":
            raise StoppedError

    return train_block(block, torch.from_numpy(inputs), recipe, progress)
