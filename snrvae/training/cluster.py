"""Training on a Dask cluster: cells side by side, on all of its machines.

If a worker dies, Dask trains its cell again on another one. Scheduler, workers and this process must run the
same code with the same versions of packages; this is checked before training.
"""

import asyncio
import hashlib
import logging
import platform
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import dask
import numpy as np
from distributed import Client, Future, KilledWorker, Security, as_completed, get_worker
from distributed.comm.addressing import get_address_host_port
from distributed.core import rpc
from distributed.versions import VersionMismatchWarning
from threadpoolctl import threadpool_limits

from snrvae import processor
from snrvae.codecs import files
from snrvae.settings import fingerprint
from snrvae.settings.grid import Cell
from snrvae.sources.domain import Points
from snrvae.training.compiled import engine
from snrvae.training.config import TrainConfig
from snrvae.training.history import History
from snrvae.training.trainer import Made, Progress, StoppedError, Trainer

PATIENCE = 10.0  # seconds to wait for the scheduler's answer, and for a first worker
PACKAGES = ("torch", "numpy", "scipy", "numba", "distributed")
CURE = "start it again as docs/cluster.md says, in a clone of this commit with its requirements-dev.lock"

# Of the code as it was loaded: a worker that started before a `git pull` runs the old code.
_CODE = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py")))
).hexdigest()[:12]


class Cluster(Trainer):
    """Workers of a Dask cluster that train cells on the same inputs [n, k + l]."""

    def __init__(self, client: Client, inputs: Points, config: TrainConfig):
        self._client, self._config = client, config
        # A task, not scattered data: Dask runs it again if the last worker that held the inputs died.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            self._inputs: Future[Points] = client.submit(np.asarray, inputs, pure=False)
        client.replicate(self._inputs)

    def train(self, cells: Sequence[Cell], progress: Progress) -> Generator[Made, None, None]:
        """Each cell as soon as a worker returns it; `progress` is called then.

        Raises ConnectionError if the scheduler is lost, ChildProcessError if a cell's workers die.
        """
        futures = self._client.map(
            _train,
            cells,
            inputs=self._inputs,
            config=self._config,
            expected=environment(),
            pure=False,
        )
        try:
            for future in as_completed(futures, loop=self._client.loop):
                data, history, made_on = future.result()
                (codec,) = files.from_bytes(data).values()
                progress(self._config.train.steps, float(history.losses[-1, 0]))
                yield (codec, history), made_on
        except CancelledError:
            raise ConnectionError(f"{_address(self._client)}: the scheduler is gone") from None
        except KilledWorker as error:
            raise ChildProcessError(
                f"{_address(self._client)}: {error.allowed_failures + 1} workers died at the same cell, "
                f"the last one {error.last_worker.address} (out of memory?)"
            ) from None

    @property
    def processors(self) -> list[str]:
        """The kinds of processors that workers have now."""
        return sorted(set(self._client.run(fingerprint.kind).values()))


@contextmanager
def connect(
    address: str, inputs: Points, config: TrainConfig, patience: float = PATIENCE
) -> Iterator[Cluster]:
    """The cluster whose scheduler is at `address`, such as tcp://10.0.0.1:8786.

    On leaving the context, even by an error or an interrupt, the cluster drops our inputs and results, and
    running cells stop the next time that they report progress.
    Raises ValueError or OSError, with a message of one line, if the cluster cannot be reached, has no
    workers, or runs other code or versions.
    """
    _find_scheduler(address, patience)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)  # _check reports it in one line
        client = Client(address, timeout=patience, set_as_default=False)
    with client:
        _check(client, patience)
        yield Cluster(client, inputs, config)


def _find_scheduler(address: str, patience: float) -> None:
    """Raise ValueError if `address` is no address, ConnectionError if no scheduler listens there.

    A Dask client itself would wait for ever for an answer if another program listens there.
    """
    try:
        get_address_host_port(address)
    except Exception as error:
        raise ValueError(
            f"{address!r} is not a scheduler's address ({error}); expected one such as tcp://10.0.0.1:8786"
        ) from None
    logging.disable()  # Dask logs a traceback for each message that it cannot read
    try:
        kind = asyncio.run(asyncio.wait_for(_identify(address, 0.9 * patience), patience))
    except Exception as error:  # bytes that are not Dask's can raise anything
        known = type(error) in (OSError, TypeError)  # no connection, TLS without a certificate
        kind = str(error) if known else "what listens there does not speak Dask's protocol"
    finally:
        logging.disable(logging.NOTSET)
    if kind != "Scheduler":
        raise ConnectionError(
            f"{address}: no Dask scheduler answers there ({kind}); start one: python -m dask scheduler"
        )


async def _identify(address: str, patience: float) -> str:
    """The kind of Dask server that listens at an address: Scheduler, Worker or Nanny."""
    arguments = Security().get_connection_args("client")
    async with rpc(address, timeout=patience, connection_args=arguments) as server:
        return str((await server.identity())["type"])


def versions() -> dict[str, str]:
    """Versions of packages, and a digest of snrvae's code."""
    packages = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **packages, "snrvae's code": _CODE}


def environment() -> dict[str, str]:
    """What decides a cell's bits, with cell, inputs and settings."""
    return versions() | {"the choice of vector instructions": processor.CHOICE}


def _check(client: Client, patience: float) -> None:
    try:
        client.wait_for_workers(1, timeout=patience)
    except TimeoutError:
        address = _address(client)
        start = f"python -m stages.worker {address} --nthreads 1"
        raise ConnectionError(f"{address}: the cluster has no workers; start some: {start}") from None
    try:
        on_scheduler = client.run_on_scheduler(versions)
    except Exception as error:
        on_scheduler = error
    _compare(f"scheduler {_address(client)}", versions(), on_scheduler)
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


def _train(
    cell: Cell, inputs: Points, config: TrainConfig, expected: Mapping[str, str]
) -> tuple[bytes, History, str]:
    """Train a cell on a worker: the codec as bytes, its history, and the worker's kind of processor."""
    worker = get_worker()
    _compare(f"worker {worker.address}", expected, environment())  # it may have joined after the check
    task = worker.state.tasks[worker.get_current_task()]

    def progress(*_: float) -> None:
        if task.state == "cancelled":
            raise StoppedError

    with threadpool_limits(1):
        codec, history = engine.fit(cell, inputs, config, progress)
    return files.to_bytes({cell.name: codec}), history, fingerprint.kind()
