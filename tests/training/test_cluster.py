"""A real Dask cluster on this machine: the bits of one process, whoever dies, and faults told in a line.

Nothing here waits for ever: a wait for a process ends when the process does, or kills it after a minute. If
anything else takes minutes, the tests end with the stack of every thread.
"""

import faulthandler
import json
import os
import random
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import yaml
from conftest import MakeConfig, draw_splits
from distributed import Client

from snrvae.codecs import files
from snrvae.settings import fingerprint, params
from snrvae.settings.grid import Cell
from snrvae.sources import cube, dataset, record
from snrvae.sources.domain import Split
from snrvae.training import cluster
from snrvae.training.config import DivergedError
from snrvae.training.pool import Pool
from snrvae.training.trainer import Trained
from tests.repository import TINY

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CELLS = [
    Cell("none", 1, None, 0),
    *(
        Cell(noise, d, 10.0, repeat)
        for noise in ("isotropic", "learned")
        for d in (1, 2)
        for repeat in (0, 1)
    ),
]
ENDLESS = 300_000  # steps of minutes, with records seconds apart, at which a block can be stopped


@pytest.fixture(autouse=True)
def _stacks_of_what_hangs() -> Iterator[None]:
    faulthandler.dump_traceback_later(240, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


# a machine whose NumPy would choose another kernel, if there is a choice
ELSEWHERE = {"OPENBLAS_CORETYPE": "Nehalem"} if "OPENBLAS_CORETYPE" in os.environ else {}


@contextmanager
def python(
    *arguments: str, folder: Path = ROOT, packages: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m` with these arguments in a folder; it and its children end with the context."""
    environment = os.environ | ELSEWHERE | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(packages or "")}
    command = [sys.executable, "-m", *arguments, "--no-dashboard"]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()


@contextmanager
def scheduler(into: Path, **where: Path) -> Iterator[str]:
    """The address of a scheduler that writes it into a folder."""
    file = into / "scheduler.json"
    options = "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
    with python("dask", "scheduler", *options, **where) as process:
        while not file.exists() or not file.read_text():
            assert process.poll() is None
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]


OWN, DASKS = ("stages.worker",), ("dask", "worker")


def worker(
    address: str, *options: str, command: tuple[str, ...] = OWN, **where: Path
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A worker, started by a command of ours or of Dask."""
    return python(*command, address, "--host", "127.0.0.1", "--nthreads", "1", *options, **where)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of two workers, as the README starts them."""
    with scheduler(tmp_path_factory.mktemp("cluster")) as address, worker(address, "--nworkers", "2"):
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address


def to_bytes(trained: list[Trained]) -> bytes:
    return files.to_bytes({codec.architecture.cell.name: codec for codec, _ in trained})


def test_bits_are_those_of_this_machine_though_every_worker_is_killed_once(
    address: str, splits: dict[str, Split], config: MakeConfig
) -> None:
    points, settings = splits["train"].points, config(hidden_layers=1, steps=300)
    reported: list[int] = []
    kept: list[tuple[Trained, str]] = []
    with Client(address, set_as_default=False) as client, cluster.connect(address, points, settings) as there:
        processes = list(client.run(os.getpid).values())

        def progress(cell_steps: int, _: float) -> None:
            reported.append(cell_steps)
            if processes:  # after the first and the second, each worker is at another
                os.kill(processes.pop(), signal.SIGKILL)

        found = there.fit(CELLS, progress, lambda one, made_on: kept.append((one, made_on)))
        assert [fingerprint.kind()] == there.processors, "a run without the cluster finds these cells"
        assert set(client.run(os.getpid).values()).isdisjoint(processes)
    assert {made_on for _, made_on in kept} == {fingerprint.kind()}
    assert sorted(to_bytes([one]) for one, _ in kept) == sorted(to_bytes([one]) for one in found)
    expected = Pool(points, settings, 1).fit(CELLS, lambda *_: None)
    assert not processes
    assert sum(reported) == 300 * len(CELLS)
    assert to_bytes(found) == to_bytes(expected)
    for (_, history), (_, wanted) in zip(found, expected, strict=True):
        assert history.cell == wanted.cell
        assert history.losses.tobytes() == wanted.losses.tobytes()


def test_a_cell_that_diverges_ends_all_and_frees_the_workers(
    address: str, splits: dict[str, Split], config: MakeConfig
) -> None:
    points = splits["train"].points
    bad = Cell("isotropic", 1, 1e39, 0)  # its noise power is below what float32 holds
    with (
        pytest.raises(DivergedError, match=r"d1-snr1e\+39"),
        cluster.connect(address, points, config(hidden_layers=1, steps=ENDLESS)) as there,
    ):
        there.fit([CELLS[0], bad], lambda *_: None)
    with cluster.connect(address, points, config(steps=1)) as there:
        there.fit(CELLS, lambda *_: None)  # waits for ever where a worker is still at the endless block


def stage_folder(folder: Path, steps: int) -> dict[str, str]:
    """A folder to run train_ae in; the environment to do it in."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in TINY.items():
        settings[key] = settings[key] | value if isinstance(value, dict) else value
    settings["train"]["steps"] = steps
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    splits = draw_splits(cube.SOURCE, dict.fromkeys(params.SPLITS, 600))
    (folder / "cube.npz").write_bytes(dataset.to_bytes(splits))
    (folder / "source.npz").write_bytes(record.to_bytes(cube.SOURCE))
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


STAGE = ["-m", "stages.train_ae", "source.npz", "cube.npz", "ae.safetensors", "training_ae.csv"]


def test_the_stage_trains_on_the_cluster_that_the_environment_names(address: str, tmp_path: Path) -> None:
    environment = stage_folder(tmp_path, ENDLESS) | {"DASK_SCHEDULER_ADDRESS": address}
    with (
        Client(address, set_as_default=False) as client,
        subprocess.Popen(
            [sys.executable, *STAGE], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
        ) as run,
    ):
        try:
            while not any(client.processing().values()):
                assert run.poll() is None
                time.sleep(0.05)
            run.send_signal(signal.SIGINT)
            _, error = run.communicate(timeout=60)
        finally:
            run.kill()
        assert error == b"train_ae: interrupted; `dvc repro` runs it again\n"
        assert client.submit(sum, (1, 2), workers=list(client.processing())).result(timeout=60) == 3


def test_without_that_nothing_of_dask_is_imported(tmp_path: Path) -> None:
    environment = stage_folder(tmp_path, 1) | {"DASK_SCHEDULER_ADDRESS": ""}
    code = (
        "import runpy, sys; runpy.run_module('stages.train_ae', run_name='__main__');"
        "sys.exit(any(name.split('.')[0] in ('dask', 'distributed') for name in sys.modules))"
    )
    command = [sys.executable, "-c", code, *STAGE[2:]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "ae.safetensors").exists()


def test_a_cluster_that_is_not_there_or_has_no_workers_is_told_in_one_line(
    tmp_path: Path, splits: dict[str, Split], config: MakeConfig
) -> None:
    def fault(address: str) -> str:
        with (
            pytest.raises(ConnectionError) as caught,
            cluster.connect(address, splits["train"].points, config(), patience=0.5),
        ):
            pass
        (line,) = str(caught.value).splitlines()
        return line

    with scheduler(tmp_path) as address:
        assert f"python -m stages.worker {address}" in fault(address)
    assert f"{address}: no Dask scheduler answers there" in fault(address)
    assert "nowhere:1: no Dask scheduler answers there" in fault("nowhere:1")


@pytest.mark.parametrize("address", [" ", "nowhere", "tcp://127.0.0.1", "http://127.0.0.1:80", "127.0.0.1:x"])
def test_what_is_no_address_is_told_in_one_line(
    address: str, splits: dict[str, Split], config: MakeConfig
) -> None:
    with (
        pytest.raises(ValueError) as caught,
        cluster.connect(address, splits["train"].points, config()),
    ):
        pass
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{address!r} is not a scheduler's address (")
    assert line.endswith("; expected one such as tcp://10.0.0.1:8786")


ANSWERS = {  # what a server sends to whoever connects
    "silence": b"",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": bytes(4000),
    "noise": random.Random(0).randbytes(4000),
    "an empty message of Dask's": (8).to_bytes(8, "little") + bytes(8),
}


@contextmanager
def listener(answer: bytes, closes: bool) -> Iterator[str]:
    """The address of a server that sends the same to whoever connects, and may hang up then."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(answer)
            while not closes and self.request.recv(1024):
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True  # of a client that never hangs up, too
        threading.Thread(target=server.serve_forever).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("protocol", ["tcp", "tls"])
def test_something_else_that_listens_is_told_in_one_line(
    protocol: str,
    answer: str,
    closes: bool,
    splits: dict[str, Split],
    config: MakeConfig,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with (
        listener(ANSWERS[answer], closes) as place,
        pytest.raises(ConnectionError) as caught,
        cluster.connect(f"{protocol}://{place}", splits["train"].points, config(), patience=0.5),
    ):
        pass
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{protocol}://{place}: no Dask scheduler answers there (")
    assert capfd.readouterr() == ("", "")


def test_a_worker_in_the_schedulers_place_is_told_in_one_line(
    address: str, splits: dict[str, Split], config: MakeConfig
) -> None:
    with Client(address, set_as_default=False) as client:
        place = next(iter(client.processing()))
    with (
        pytest.raises(ConnectionError, match=r"no Dask scheduler answers there \(Worker\)"),
        cluster.connect(place, splits["train"].points, config()),
    ):
        pass


def test_a_stage_ends_in_one_line_where_something_else_listens(tmp_path: Path) -> None:
    with listener(ANSWERS["HTTP"], closes=False) as place:
        done = subprocess.run(
            [sys.executable, *STAGE],
            cwd=tmp_path,
            env=stage_folder(tmp_path, 1) | {"DASK_SCHEDULER_ADDRESS": place},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"train_ae: {place}: no Dask scheduler answers there (")
    assert done.returncode == 1


def other_code(folder: Path) -> dict[str, Path]:
    shutil.copytree(ROOT / "snrvae", folder / "snrvae", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "snrvae" / "reporting" / "figures.py").open("a") as file:
        file.write("# one line more\n")
    return {"folder": folder}


def other_torch(folder: Path) -> dict[str, Path]:
    package = folder / "torch-1.2.3.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.2.3\n")
    return {"packages": folder}


def no_project(folder: Path) -> dict[str, Path]:
    return {"folder": folder}


def other_instructions(_: Path) -> dict[str, Path]:
    """Dask's own command, which loads NumPy before snrvae."""
    return {}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (other_torch, "torch is 1.2.3, but 2."),
        (other_code, "snrvae's code is "),
        pytest.param(
            other_instructions,
            "the choice of vector instructions is NumPy's own, but ",
            marks=pytest.mark.skipif(not ELSEWHERE, reason="a processor without a class"),
        ),
        (no_project, "cannot load this project "),
    ],
)
def test_a_worker_that_differs_is_told_in_one_line_whenever_it_comes(
    make: Callable[[Path], dict[str, Path]],
    words: str,
    address: str,
    tmp_path: Path,
    splits: dict[str, Split],
    config: MakeConfig,
) -> None:
    points = splits["train"].points
    with (
        Client(address, set_as_default=False) as client,
        cluster.connect(address, points, config(steps=1)) as there,
    ):
        right = set(client.processing())
        with worker(address, "--no-nanny", command=DASKS, **make(tmp_path)):
            client.wait_for_workers(len(right) + 1, timeout=60)
            (wrong,) = set(client.processing()) - right
            with pytest.raises(ValueError) as early, cluster.connect(address, points, config()):
                pass
            assert str(early.value).startswith(f"worker {wrong}: {words}")
            assert len(str(early.value).splitlines()) == 1
            if make is no_project:  # Dask drops it at its first task, and others do that
                there.fit(CELLS, lambda *_: None)
                return
            with pytest.raises(ValueError) as late:
                while True:
                    there.fit(CELLS, lambda *_: None)
            assert str(late.value) == str(early.value)
        while wrong in client.processing():
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("make", "words"),
    [(other_code, "snrvae's code is "), (no_project, "cannot load this project ")],
)
def test_a_scheduler_that_differs_is_told_in_one_line(
    make: Callable[[Path], dict[str, Path]],
    words: str,
    tmp_path: Path,
    splits: dict[str, Split],
    config: MakeConfig,
) -> None:
    with (
        scheduler(tmp_path, **make(tmp_path)) as address,
        worker(address, "--no-nanny", command=DASKS),
        pytest.raises(ValueError) as caught,
        cluster.connect(address, splits["train"].points, config()),
    ):
        pass
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"scheduler {address}: {words}")
