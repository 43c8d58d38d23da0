"""The grid over the machine's cores: blocks of cells side by side, a process for each core.

Processes and not threads: a step is some eighty calls of a few microseconds each, between which Python's
lock would pass to and fro.
"""

import multiprocessing
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from threading import Thread
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrvae import codec, grid, training
from snrvae.codec import Codecs
from snrvae.grid import Cell
from snrvae.records import History
from snrvae.training import Progress, Recipe

Block = tuple[Cell, ...]
Trained = tuple[bytes, History]  # codecs as codec.to_bytes writes them: plain data between processes

POLL = 0.2  # seconds between two looks at how far the processes are


class StoppedError(RuntimeError):
    """Training was stopped: another block failed."""


class Trainer(ABC):
    """Trains cells on inputs that it was given once."""

    def fit(self, cells: Sequence[Cell], progress: Progress) -> tuple[list[Codecs], list[History]]:
        """Train every cell; one batch of codecs per shape, one history per block.

        Raises DivergedError, naming the cell, where a loss is not finite, and OSError where processes or
        machines at work are lost.
        """
        groups = [grid.blocks(group, grid.BLOCK) for group in grid.groups(cells)]
        trained = iter(self.train([block for group in groups for block in group], progress))
        results = [[next(trained) for _ in group] for group in groups]
        codecs = [codec.concatenate([codec.from_bytes(data)[0] for data, _ in group]) for group in results]
        return codecs, [history for group in results for _, history in group]

    @abstractmethod
    def train(self, blocks: Sequence[Block], progress: Progress) -> list[Trained]:
        """Each block trained, in the order given."""


def train_block(block: Block, inputs: Tensor, recipe: Recipe, progress: Progress) -> Trained:
    """A block trained on inputs [n, 3 + l] by this thread."""
    batch, history = training.fit(block, inputs, recipe, progress)
    return codec.to_bytes([batch]), history


class Alone(Trainer):
    """This process, which trains one block after the other on inputs [n, 3 + l]."""

    def __init__(self, inputs: NDArray[np.float32], recipe: Recipe):
        self._inputs, self._recipe = torch.from_numpy(inputs), recipe

    def train(self, blocks: Sequence[Block], progress: Progress) -> list[Trained]:
        return [train_block(block, self._inputs, self._recipe, progress) for block in blocks]


class Pool(Trainer):
    """Processes that train blocks of cells on the same inputs [n, 3 + l], of which they share one copy.

    A context manager: on leaving it, by an error or an interrupt too, every process ends.
    """

    def __init__(self, inputs: NDArray[np.float32], recipe: Recipe, processes: int):
        context = multiprocessing.get_context("spawn")
        self._task = _Task(torch.from_numpy(inputs).share_memory_(), recipe, _Board(context))
        self._executor = ProcessPoolExecutor(processes, context, initializer=_start, initargs=(self._task,))

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self._task.board.stop.set()
        self._executor.shutdown(cancel_futures=True)

    def train(self, blocks: Sequence[Block], progress: Progress) -> list[Trained]:
        """Each block trained, in the order given.

        Raises ChildProcessError where a process was ended from outside.
        """
        told, _ = self._task.board.read()
        with _interrupts_held_back():  # processes start here, and would be interrupted while they load
            futures = [self._executor.submit(_train, block) for block in blocks]
        try:
            self._follow(futures, told, progress)
            return [future.result() for future in futures]
        except BaseException as error:
            self._task.board.stop.set()  # the other blocks end at their next record, and this pool with them
            if not isinstance(error, BrokenProcessPool):
                raise
            raise ChildProcessError("a training process was ended from outside (out of memory?)") from None

    def _follow(self, futures: Sequence[Future[Trained]], told: int, progress: Progress) -> None:
        """Wait until all are done or one has failed, telling `progress` of every cell-step after `told`."""
        waiting = set(futures)
        while waiting:
            ended, waiting = wait(waiting, POLL, FIRST_EXCEPTION)
            done, mse = self._task.board.read()
            progress(done - told, mse)
            told = done
            for future in ended:
                future.result()  # raises what ended it, while the others are still at work


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that start meanwhile leave Ctrl-C to this one; one that comes meanwhile comes after it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Board:
    """What the processes share: how many cell-steps are done, their mse, and whether to stop."""

    def __init__(self, context: SpawnContext):
        self._values = context.Array("d", 2)
        self.stop = context.Event()

    def read(self) -> tuple[int, float]:
        with self._values.get_lock():
            return int(self._values[0]), self._values[1]

    def add(self, cell_steps: int, mse: float) -> None:
        with self._values.get_lock():
            self._values[0] += cell_steps
            self._values[1] = mse


@dataclass(frozen=True)
class _Task:
    """What every block of a pool needs; each process keeps its own, save the inputs [n, 3 + l]."""

    inputs: Tensor
    recipe: Recipe
    board: _Board


_task: list[_Task] = []


def _start(task: _Task) -> None:
    """First call in a process."""
    _task.append(task)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for its next block for ever, idle and in memory."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _train(block: Block) -> Trained:
    (task,) = _task

    def progress(cell_steps: int, mse: float) -> None:
        if task.board.stop.is_set():
            raise StoppedError
        task.board.add(cell_steps, mse)

    return train_block(block, task.inputs, task.recipe, progress)
