"""Stages that are killed, interrupted or out of disk: files stay whole, and the next run makes it good.

KILLS=500 python -m pytest tests/stages/test_interruptions.py    kills 500 times instead of a few dozen
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import files
from tests.processes import begin, said, wait_for
from tests.repository import LIMIT, ROOT, STAGES, Repository, create

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "30"))
SETTINGS: dict[str, Any] = {
    "data": {"train_points": 600, "validation_points": 600, "test_points": 600},
    "network": {"hidden_units": 32, "hidden_layers": 2},
    "train": {"steps": 300, "batch_size": 32, "learning_rate": 0.01, "repeats": 1},
    "noise": ["isotropic"],
    "latent_dim": [1],
    "snr": [1, 100],
}
SECONDS = {"rate_distortion": 0.4}  # of the others: what they took undisturbed
METHODS = [(signal.SIGKILL, False), (signal.SIGKILL, True), (signal.SIGINT, False), (signal.SIGINT, True)]

Bytes = dict[str, bytes]


def outputs(stage: str) -> list[str]:
    """The files that a stage writes, of those that an undisturbed run leaves."""
    entry = STAGES[stage]
    return [
        next(iter(out)) if isinstance(out, dict) else out for out in entry["outs"] + entry.get("metrics", [])
    ]


def of(stage: str, everything: Bytes) -> Bytes:
    """The outputs of a stage among the files of a run."""
    return {name: data for name, data in everything.items() if name.startswith(tuple(outputs(stage)))}


def wait_until_it_writes(process: ForkServerProcess, first: Path) -> None:
    """Until the first of the files is new: a signal then comes between two files, or in one."""
    wait_for(lambda: first.read_bytes() != b"old" or not process.is_alive())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository where every stage ran to its end, without DVC."""
    made = create(tmp_path_factory.mktemp("undisturbed"), SETTINGS)
    for stage in STAGES:
        if stage != "rate_distortion":
            process, start = begin(stage, made.path), time.monotonic()
            process.join()
            SECONDS[stage] = time.monotonic() - start
            assert process.exitcode == 0, said(made.path)
    return made


@pytest.fixture
def folder(undisturbed: Repository, tmp_path: Path) -> Path:
    shutil.copytree(undisturbed.path, tmp_path, dirs_exist_ok=True)
    return tmp_path


def plan(count: int) -> Iterator[tuple[str, signal.Signals, bool, float | None]]:
    """Which stage, which signal, to its group or not, when: after a share of its time, or as it writes."""
    chance = random.Random(0)
    for number in range(count):
        stage = list(STAGES)[number % len(STAGES)]
        sign, group = METHODS[number // len(STAGES) % len(METHODS)]
        writing = stage != "rate_distortion" and chance.random() < 0.4
        yield stage, sign, group, None if writing else chance.random()


def strike(
    stage: str, sign: signal.Signals, group: bool, moment: float | None, folder: Path, first: str
) -> ForkServerProcess:
    """Begin a stage and send it a signal: after a share of its time, or once the first of its files is new.

    It may have ended before.
    """
    process = begin(stage, folder)
    if moment is None:
        wait_until_it_writes(process, folder / first)
    else:
        process.join(moment * SECONDS[stage])
    assert process.pid is not None
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(process.pid, sign)
    process.join()
    return process


def test_a_stage_that_is_killed_leaves_every_file_old_or_new_and_whole(
    undisturbed: Repository, folder: Path
) -> None:
    whole, late = undisturbed.bytes(), 0
    for stage, sign, group, planned in plan(KILLS):
        new, moment, killed = of(stage, whole), planned, False
        while not killed:
            for name in new:
                files.write(folder / name, b"old")
            killed = strike(stage, sign, group, moment, folder, next(iter(new))).exitcode != 0
            for name, data in new.items():
                assert (folder / name).read_bytes() in (b"old", data), (stage, sign, moment, name)
            for name in set(whole) - set(new):
                assert (folder / name).read_bytes() == whole[name]
            late += not killed
            assert late < 5 * KILLS, "strikes without effect"
            moment = (moment or 1) / 2  # next time before it ends
        if sign == signal.SIGINT:
            assert said(folder) == f"stages.{stage}: interrupted; `dvc repro` runs it again\n"
        for name, data in new.items():
            files.write(folder / name, data)
    print(f"{KILLS} kills; {late} more came after the end")
    assert not list(folder.glob("*/**/*.part")), "what a killed process left goes with the next write"


def test_an_interrupt_of_a_stage_in_a_terminal_is_one_line_and_exit_code_130(folder: Path) -> None:
    settings = folder / "params.yaml"
    settings.unlink()
    os.mkfifo(settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.rate_distortion", "data/source.npz", str(LIMIT)],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    writers: list[int] = []

    def reads() -> bool:
        with suppress(OSError):  # nobody reads yet
            writers.append(os.open(settings, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers) or process.poll() is not None

    wait_for(reads)  # and then waits for what is written
    process.send_signal(signal.SIGINT)
    os.close(*writers)  # a signal just before the read leaves it waiting; the end of the file does not
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "rate_distortion: interrupted; `dvc repro` runs it again\n")


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "rate_distortion"])
def test_a_file_system_that_takes_no_more_is_told_in_one_line_and_leaves_the_old_files(
    undisturbed: Repository, stage: str, folder: Path
) -> None:
    new = of(stage, undisturbed.bytes())
    for name in new:
        files.write(folder / name, b"old")
    process = begin(stage, folder, largest=max(map(len, new.values())) - 1)  # bytes of a file
    process.join()
    assert process.exitcode == 1
    (line,) = said(folder).splitlines()
    assert any(f"{name}: cannot be written (File too large)" in line for name in new)
    for name, data in new.items():
        assert (folder / name).read_bytes() in (b"old", data)
    assert b"old" in [(folder / name).read_bytes() for name in new]
    assert not list(folder.glob("*/**/*.part"))


MOUNTS = {
    "full": "mount -t tmpfs -o size=8k tmpfs data",
    "read-only": "mount --bind data data && mount -o remount,ro,bind data",
}


@pytest.mark.parametrize(
    ("state", "reason"), [("full", "No space left on device"), ("read-only", "Read-only")]
)
def test_a_full_disk_and_a_read_only_folder_are_told_in_one_line(
    state: str, reason: str, folder: Path
) -> None:
    """In a mount namespace of its own: nothing of it is seen outside."""
    ours = ["unshare", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    if subprocess.run([*ours, MOUNTS[state]], cwd=folder, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    stage = f"{sys.executable} -m stages.generate data/raw data/cube.npz data/source.npz; echo $?; ls -A data"
    done = subprocess.run(
        [*ours, f"{MOUNTS[state]} && {stage}"], cwd=folder, capture_output=True, text=True, check=True
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"generate: data/cube.npz: cannot be written ({reason}")
    code, *left = done.stdout.split()
    assert code == "1"
    assert not [name for name in left if name.startswith(".cube")]


def disturbed(repository: Repository, stage: str, sign: signal.Signals, group: bool) -> None:
    """`dvc repro`, struck by a signal in the middle of a stage."""
    with (repository.path / "printed").open("w") as printed:
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=repository.path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        path = repository.path / "printed"
        wait_for(lambda: f"Running stage '{stage}'" in path.read_text() or process.poll() is not None)
        time.sleep(0.1)
        (os.killpg if group else os.kill)(process.pid, sign)
        assert process.wait() != 0


def test_dvc_that_is_killed_starts_again_and_gives_the_same_bytes(
    undisturbed: Repository, folder: Path
) -> None:
    repository, whole = Repository(folder), undisturbed.bytes()
    repository.run("dvc", "commit", "--quiet", "--force")  # as if all had run, but for what is disturbed
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    del lock["stages"]["train_ae"], lock["stages"]["train_vae"]
    shutil.rmtree(folder / ".dvc" / "cache" / "runs")
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    disturbed(repository, "train_ae", signal.SIGKILL, group=False)  # the stage goes on alone
    disturbed(repository, "train_vae", signal.SIGKILL, group=True)
    assert repository.stages_run("dvc", "repro") == ["train_vae"]
    assert repository.bytes() == whole
    repository.run("git", "add", "-A", "data", "reports", "dvc.lock", "dvc.yaml", "params.yaml")
    repository.run("git", "commit", "-q", "-m", "whole")

    repository.run("sed", "-i", "s/^seed: .*/seed: 7/", "params.yaml")
    disturbed(repository, "generate", signal.SIGINT, group=True)
    repository.run("git", "checkout", "-q", ".")
    repository.run("dvc", "checkout", "-q")
    assert repository.bytes() == whole
    assert repository.stages_run("dvc", "repro") == []


LOST = {  # places where Python or a library does not pass on what an interrupt raises
    "a callback": """
    anchor = Anchor()
    reference = weakref.ref(anchor, lambda _: signal.raise_signal(signal.SIGINT))
    del anchor
""",
    "a conversion": """
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        pass
    raise TypeError("incompatible function arguments")
""",
    "a file that cannot be closed": """
    with zipfile.ZipFile(io.BytesIO(), "w") as archive:
        half = archive.open("half", "w")
        signal.raise_signal(signal.SIGINT)
""",
    "an object half made": """
    Grammar()
""",
    "a progress bar": """
    multiprocessing.set_start_method("spawn")  # as on macOS and, from Python 3.14, everywhere
    with train.tqdm(total=1, disable=None):
        signal.raise_signal(signal.SIGINT)
""",
}
STAGE = """
import io, multiprocessing, signal, weakref, zipfile
from stages import files, train

class Anchor:
    pass

class Grammar:
    def __init__(self) -> None:
        signal.raise_signal(signal.SIGINT)

    def __del__(self) -> None:
        self.expression

def generate(*_: object) -> None:
"""


@pytest.mark.parametrize("place", LOST)
def test_an_interrupt_is_told_as_one_wherever_it_comes(place: str) -> None:
    code = f"{STAGE}{LOST[place]}\nfiles.run(generate)"
    done = subprocess.run(
        [sys.executable, "-"], input=code, cwd=ROOT, text=True, check=False, capture_output=True
    )
    assert (done.returncode, done.stderr) == (130, "-: interrupted; `dvc repro` runs it again\n")
