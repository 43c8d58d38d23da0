"""Cores and memory of a container, a batch job, a shell with `ulimit -v`: no more than it may have."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from snrvae.settings import machine
from snrvae.sources import cube, record
from tests.repository import ROOT

TREES: dict[str, dict[str, str]] = {  # files of a machine, below its root
    "version 2, in a group": {
        "proc/self/cgroup": "0::/batch.slice/job-7\n",
        "sys/fs/cgroup/batch.slice/job-7/cpu.max": "100000 100000\n",
        "sys/fs/cgroup/batch.slice/job-7/memory.max": "3000000\n",
        "sys/fs/cgroup/batch.slice/job-7/memory.current": "2500000\n",
        "sys/fs/cgroup/batch.slice/job-7/memory.stat": "anon 9\nactive_file 300000\ninactive_file 200000\n",
    },
    "version 2, in a group of a group": {
        "proc/self/cgroup": "0::/batch.slice/job-7\n",
        "sys/fs/cgroup/batch.slice/cpu.max": "50000 100000\n",
        "sys/fs/cgroup/batch.slice/memory.max": "1500000\n",
        "sys/fs/cgroup/batch.slice/memory.current": "500000\n",
        "sys/fs/cgroup/batch.slice/job-7/cpu.max": "max 100000\n",
        "sys/fs/cgroup/batch.slice/job-7/memory.max": "max\n",
        "sys/fs/cgroup/batch.slice/job-7/memory.current": "500000\n",
    },
    "version 2, seen from inside": {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "75000 100000\n",
        "sys/fs/cgroup/memory.max": "1000000\n",
        "sys/fs/cgroup/memory.current": "0\n",
    },
    "version 1": {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/1a\n4:memory:/docker/1a\n1:name=systemd:/\n0::/\n",
        "sys/fs/cgroup/cpu/docker/1a/cpu.cfs_quota_us": "100000\n",
        "sys/fs/cgroup/cpu/docker/1a/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "5000000\n",
        "sys/fs/cgroup/memory/docker/1a/memory.limit_in_bytes": "3000000\n",
        "sys/fs/cgroup/memory/docker/1a/memory.usage_in_bytes": "2000000\n",
        "sys/fs/cgroup/memory/docker/1a/memory.stat": "inactive_file 7\ntotal_inactive_file 0\n",
    },
    "version 1, seen from inside": {
        "proc/self/cgroup": "5:cpuacct,cpu:/docker/1a\n4:memory:/docker/1a\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "20000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "0\n",
    },
}
UNLIMITED: dict[str, dict[str, str]] = {
    "no groups": {},
    "version 2": {
        "proc/self/cgroup": "0::/a\n",
        "sys/fs/cgroup/a/cpu.max": "max 100000\n",
        "sys/fs/cgroup/a/memory.max": "max\n",
        "sys/fs/cgroup/a/memory.current": "5000\n",
    },
    "version 1": {
        "proc/self/cgroup": "5:cpu:/\n4:memory:/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "5000\n",
    },
    "more than there is": {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "900000000 100000\n",
        "sys/fs/cgroup/memory.max": "900000000000000\n",
        "sys/fs/cgroup/memory.current": "0\n",
    },
}


def write(files: Mapping[str, str], root: Path) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_affinity", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("tree", TREES)
def test_a_control_group_limits_cores_and_memory(tree: str, tmp_path: Path) -> None:
    write(TREES[tree], tmp_path)
    assert machine.cores(tmp_path) == machine.cpu_quota(tmp_path) == 1
    assert machine.free_memory(2, tmp_path) == (1_000_000, "the container's limit")


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("tree", UNLIMITED)
def test_a_group_without_limits_leaves_what_the_machine_has(tree: str, tmp_path: Path) -> None:
    write(UNLIMITED[tree], tmp_path)
    assert machine.cpu_quota(tmp_path) is None
    assert machine.cores(tmp_path) == 2
    free = machine.free_memory(2, tmp_path)
    assert free.limit == ""
    assert free.size == pytest.approx(psutil.virtual_memory().available, rel=0.5)


def test_a_group_that_holds_more_than_its_limit_leaves_nothing(tmp_path: Path) -> None:
    write(TREES["version 2, seen from inside"] | {"sys/fs/cgroup/memory.current": "2000000\n"}, tmp_path)
    assert machine.free_memory(2, tmp_path).size == 0


@pytest.mark.usefixtures("two_cores")
def test_what_a_user_asks_for_counts_before_any_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(TREES["version 1"], tmp_path)
    for asked, cores in (("3", 3), ("0", 1), ("many", 1), ("", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert machine.cores(tmp_path) == cores


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="has no affinity")
def test_cores_are_those_that_a_process_may_run_on() -> None:
    assert printed("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})", OMP_NUM_THREADS="") == "1 1\n"


@pytest.mark.slow
def test_a_stage_starts_no_more_threads_than_a_quota_allows() -> None:
    assert printed("machine.cpu_quota = lambda *_: 1", OMP_NUM_THREADS="") == "1 1\n"
    cores, _ = printed("machine.cpu_quota = lambda *_: 1", OMP_NUM_THREADS="3").split()
    assert cores == "3", "what a user asks for"


def printed(limit: str, **variables: str) -> str:
    """Cores and PyTorch's threads in a stage, after a line that limits them."""
    code = f"import os; from snrvae.settings import machine; {limit}; import stages, torch; "
    code += "print(machine.cores(), torch.get_num_threads())"
    return run_python(code, **variables)


def run_python(code: str, **variables: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, text=True, check=True, stdout=subprocess.PIPE
    ).stdout


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ulimit -v is Linux's")
@pytest.mark.parametrize("stage", ["check", "generate", "train_ae"])
def test_a_stage_is_refused_in_one_line_under_a_tight_ulimit(stage: str, tmp_path: Path) -> None:
    source = tmp_path / "source.npz"
    source.write_bytes(record.to_bytes(cube.SOURCE))
    done = subprocess.run(
        [
            "sh",
            "-c",
            f"ulimit -v 1200000; exec {sys.executable} -m stages.{stage} {source} c.npz a.safetensors a.csv",
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{stage}: params.yaml: ")
    assert line.endswith(" GB are free within ulimit -v; raise that, or lower it")
    assert done.returncode == 1
