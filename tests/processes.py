"""Stages as processes of their own that start at once: forked from one that has every module."""

import importlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from stages import files
from tests.repository import STAGES

ARGUMENTS = {name: entry["cmd"].split()[3:] for name, entry in STAGES.items()}
MESSAGES = "messages"
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([f"stages.{name}" for name in STAGES])


def work(stage: str, folder: str, largest: int, variables: dict[str, str]) -> None:
    """A stage, in a process and a process group of its own; its messages go to a file."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background may ignore it
    os.chdir(folder)
    os.environ |= {"OMP_NUM_THREADS": "1"} | variables
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.argv = [stage, *ARGUMENTS[stage]]
    function = getattr(importlib.import_module(f"stages.{stage}"), stage)
    os.dup2(os.open(MESSAGES, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    Path("started").touch()
    files.run(function, stored=stage.startswith("train"))  # as the stage's own module calls it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what comes from here on comes after the stage


def begin(
    stage: str, folder: Path, largest: int = resource.RLIM_INFINITY, **variables: str
) -> ForkServerProcess:
    """A stage that has begun in a folder; none of its files may be larger, in bytes."""
    (folder / "started").unlink(missing_ok=True)
    process = FORKS.Process(target=work, args=(stage, str(folder), largest, variables))
    process.start()
    wait_for(lambda: (folder / "started").exists() or not process.is_alive())
    return process


def said(folder: Path) -> str:
    """The messages of the last stage that began in a folder."""
    return (folder / MESSAGES).read_text()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        time.sleep(0.0005)
        assert time.monotonic() < end, "it took too long"
