"""DVC as people use it every day: its commands in a real git repository, on a grid of two cells."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from dvc.scm import RevError
from scmrepo.git import Git

from snrvae.codecs import files as models
from snrvae.settings import params
from stages import compare
from tests.repository import ROOT, Repository, create

SETTINGS: dict[str, Any] = {
    "data": {"train_points": 600, "validation_points": 600, "test_points": 600},
    "network": {"hidden_units": 16, "hidden_layers": 1},
    "train": {"steps": 20, "batch_size": 32, "learning_rate": 0.01, "repeats": 1},
    "noise": ["isotropic"],
    "latent_dim": [1],
    "snr": [1, 100],
}
pytestmark = pytest.mark.slow

TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
COLUMNS = r"(ae|snr_vae.*)\..*|.*/.*|.*\.lock|Created"
CODECS = Path("data", "codecs.safetensors")
GRID = ["train_vae", "evaluate", "render"]
KEYS: dict[str, tuple[Any, list[str]]] = {  # another value, and the stages that list the key or one above it
    "seed": (1, ["generate", "train_ae", "train_vae", "evaluate", "render"]),
    "data.train_points": (606, ["generate", "render"]),
    "data.validation_points": (606, ["generate", "render"]),
    "data.test_points": (606, ["generate", "render"]),
    "network.kind": ("residual", ["train_ae", "train_vae", "render"]),
    "network.activation": ("silu", ["train_ae", "train_vae", "render"]),
    "network.hidden_units": (32, ["train_ae", "train_vae", "render"]),
    "network.hidden_layers": (2, ["train_ae", "train_vae", "render"]),
    "encoder.candidates": (2, ["train_ae", "train_vae", "render"]),
    "encoder.folded_start": (True, ["train_vae", "render"]),
    "train.steps": (21, ["train_ae", "train_vae", "render"]),
    "train.batch_size": (48, ["train_ae", "train_vae", "render"]),
    "train.learning_rate": (0.02, ["train_ae", "train_vae", "render"]),
    "train.repeats": (2, ["train_ae", "train_vae", "render"]),
    "train.kl_weight": (0.1, ["train_vae", "render"]),
    "train.gaussianity_weight": (0.1, ["train_vae", "render"]),
    "train.mmd_weight": (0.1, ["train_ae", "train_vae", "render"]),
    "train.engine": ("torch", ["train_ae", "train_vae", "render"]),
    "train.on_divergence": ("keep", ["train_ae", "train_vae", "render"]),
    "source": ("sphere", ["generate", "train_ae", "train_vae", "rate_distortion", "evaluate", "render"]),
    "conditional": (True, ["generate", "train_ae", "train_vae", "rate_distortion", "evaluate", "render"]),
    "noise": (["learned"], ["train_vae", "render"]),
    "latent_dim": ([2], ["train_ae", "train_vae", "render"]),
    "snr": ([2], ["train_vae", "render"]),
}


def clone(source: Repository, path: Path, cache: bool = True) -> Repository:
    """A git clone, with a copy of the DVC cache unless it is to be as bare as a colleague's."""
    subprocess.run(["git", "clone", "-q", str(source.path), str(path)], check=True)
    made = Repository(path)
    made.run("git", "config", "user.email", "tests@localhost")
    made.run("git", "config", "user.name", "tests")
    if cache:
        shutil.copytree(source.path / ".dvc" / "cache", path / ".dvc" / "cache")
        made.run("dvc", "checkout", "-q")
    return made


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The pipeline, run once and committed."""
    made = create(tmp_path_factory.mktemp("committed"), SETTINGS)
    made.run("dvc", "repro", "-q")
    made.run("git", "add", "-A")
    made.run("git", "commit", "-q", "-m", "first run")
    return made


class Queue:
    """A clone where a queue runs snr=1 and snr=10 side by side, and a wrong value, beside other tests."""

    def __init__(self, repository: Repository):
        self.repository = repository
        printed = repository.run("dvc", "exp", "run", "--queue", "-S", "snr=1,10", "train_vae")
        self.names = re.findall(r"Queued experiment '([\w-]+)'", printed)
        repository.run("dvc", "exp", "run", "--queue", "-n", "bad", "-S", "snr=-3", "train_vae")
        subprocess.run(  # not through a pipe: its workers would hold it open until they have nothing to do
            ["dvc", "queue", "start", "-j", "2"],
            cwd=repository.path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        self._threads: set[str] = set()
        self._watch = Thread(target=self._look)
        self._watch.start()

    def _look(self) -> None:
        status = "Running"
        while re.search("Queued|Running", status):
            for _ in range(10):
                self._threads |= processes_of(self.repository)
                time.sleep(0.2)
            with subprocess.Popen(
                ["dvc", "queue", "status"], cwd=self.repository.path, stdout=subprocess.PIPE, text=True
            ) as asked:
                while asked.poll() is None:
                    self._threads |= processes_of(self.repository)
                    time.sleep(0.2)
                assert asked.stdout is not None
                status = asked.stdout.read()

    def threads(self) -> set[str]:
        """OMP_NUM_THREADS of every stage that the queue ran, once it has nothing left to do."""
        self._watch.join()
        return self._threads


@pytest.fixture(scope="module")
def queue(committed: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    started = Queue(clone(committed, tmp_path_factory.mktemp("queue") / "clone"))
    yield started
    started.threads()


@pytest.fixture(scope="module")
def shared(committed: Repository, queue: Queue, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A clone with two experiments: `ten`, run whole, and `other`, only trained; a queue runs beside them."""
    assert queue.names
    made = clone(committed, tmp_path_factory.mktemp("shared") / "clone")
    ran = made.stages_run("dvc", "exp", "run", "-n", "ten", "--set-param", "snr=10")
    assert ran == GRID
    restore(made)
    settings = ["snr=[0.5,1e3]", "latent_dim=[2]", "train.learning_rate=1e-5", "noise=isotropic"]
    options = [word for setting in settings for word in ("-S", setting)]
    assert made.stages_run("dvc", "exp", "run", "-n", "other", *options, "train_vae") == ["train_vae"]
    restore(made)
    return made


@pytest.fixture
def repository(shared: Repository) -> Iterator[Repository]:
    """The shared clone, clean before and after."""
    yield shared
    restore(shared)


def restore(repository: Repository) -> None:
    """What the README says takes back what an experiment left in the workspace."""
    changed = repository.run("git", "status", "--porcelain").split("\n")[:-1]
    if changed:
        (repository.path / "params.yaml").touch()
        repository.run("git", "checkout", "-q", ".")
        assert repository.run("git", "status", "--porcelain") == ""
    if changed not in ([], [" M params.yaml"]):
        repository.run("dvc", "checkout", "-q")


def settings(repository: Repository) -> params.Params:
    return params.from_yaml((repository.path / "params.yaml").read_text())


def shown_in(repository: Repository, revision: str, path: str) -> str:
    """A file of an experiment."""
    name = repository.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    (ref,) = [ref for ref in name if ref.endswith(f"/{revision}")]
    return repository.run("git", "show", f"{ref}:{path}")


@pytest.mark.parametrize(
    "expected",
    [
        {
            "snr=10": ("snr", (10.0,)),
            "latent_dim=2": ("latent_dim", (2,)),
            "noise=isotropic": ("noise", ("isotropic",)),
            "train.learning_rate=1e-5": ("train.learning_rate", 1e-5),
        },
        {"snr=[1,10]": ("snr", (1.0, 10.0)), "latent_dim=[2]": ("latent_dim", (2,))},
        {"snr=[0.5,1e3]": ("snr", (0.5, 1000.0))},
    ],
    ids=["scalars", "lists", "fractions"],
)
def test_every_way_to_set_a_parameter_is_understood(
    repository: Repository, expected: dict[str, tuple[str, Any]]
) -> None:
    options = [word for setting in expected for word in ("-S", setting)]
    assert repository.stages_run("dvc", "exp", "run", *options, "generate") == []
    for key, value in expected.values():
        found: Any = settings(repository)
        for part in key.split("."):
            found = getattr(found, part)
        assert found == value


def test_an_experiment_trains_what_was_set(repository: Repository) -> None:
    rows = shown_in(repository, "other", "reports/training_vae.csv").splitlines()[1:]
    cells = {tuple(row.split(",")[1:4]) for row in rows}
    assert cells == {("isotropic", "2", "0.5"), ("isotropic", "2", "1000")}
    assert max(float(row.split(",")[7]) for row in rows) <= 1e-5


def test_a_cell_is_the_same_in_an_experiment_as_beside_others(
    committed: Repository, repository: Repository
) -> None:
    ten = json.loads(shown_in(repository, "ten", "reports/metrics.json"))
    assert list(ten["snr_vae"]) == ["d1-snr10"]
    assert ten["ae"] == committed.metrics()["ae"]


def test_a_network_that_the_engine_cannot_train_is_one_line_that_names_the_engine(
    repository: Repository,
) -> None:
    printed = repository.run("dvc", "exp", "run", "-S", "network.kind=residual", fails=True)
    (line,) = [text for text in printed.splitlines() if "params.yaml: " in text]
    assert line.startswith(
        "train_ae: params.yaml: train.engine: the compiled engine has no network.kind residual; "
        "expected torch or cuda"
    )
    assert "Traceback" not in printed


def test_the_selected_codecs_are_one_file_that_loads_by_name(committed: Repository) -> None:
    selected = models.load(committed.path / CODECS)
    assert list(selected) == ["ae/d1", "d1-snr1", "d1-snr100"]
    trained = [
        models.load(committed.path / "data" / name) for name in ("ae.safetensors", "snr_vae.safetensors")
    ]
    for name, codec in selected.items():
        cell = codec.architecture.cell
        assert models.selected_name(cell) == name
        (same,) = [found[cell.name] for found in trained if cell.name in found]
        assert models.to_bytes({"one": codec}) == models.to_bytes({"one": same})


def test_the_table_of_experiments_shows_what_varies(repository: Repository) -> None:
    command = ("dvc", "exp", "show", "--only-changed", "--md", "--drop", COLUMNS)
    head, _, *rows = repository.run(*command).strip().splitlines()
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert columns[0] == "Experiment"
    assert {"summary.snr_vae_best_mse", "summary.mean_gap_db", "snr"} <= set(columns)
    assert not any("d1" in column or "/" in column for column in columns)
    assert [name for name in ("ten", "other") if any(f"[{name}]" in row for row in rows)] == ["ten", "other"]


def test_an_experiment_is_applied_and_becomes_a_branch(repository: Repository) -> None:
    repository.run("dvc", "exp", "apply", "ten")
    assert settings(repository).snr == (10.0,)
    assert list(repository.metrics()["snr_vae"]) == ["d1-snr10"]
    assert repository.stages_run("dvc", "repro") == []
    repository.run("dvc", "exp", "branch", "ten", "snr-ten")
    assert "snr: 10" in repository.run("git", "show", "snr-ten:params.yaml")


def test_parameters_and_metrics_differ_by_name_between_any_two_runs(repository: Repository) -> None:
    difference = json.loads(repository.run("dvc", "params", "diff", "--json", "HEAD", "ten"))
    assert difference["params.yaml"] == {"snr": {"old": "[1, 100]", "new": 10}}

    repository.run("dvc", "exp", "apply", "ten")
    for revisions in ([], ["HEAD"], ["HEAD", "ten"]):
        metrics = json.loads(repository.run("dvc", "metrics", "diff", "--json", *revisions))
        changed = metrics["reports/metrics.json"]
        assert changed["snr_vae.d1-snr10.mse"]["old"] is None  # the grids have no cell in common
        assert changed["snr_vae.d1-snr100.mse"]["new"] is None
        assert changed["summary.snr_vae_best_mse"]["diff"] != 0  # the summary carries the comparison
        assert changed["summary.mean_gap_db"]["diff"] != 0
        assert not any(name.startswith("ae.") for name in changed)


def test_small_errors_show_at_the_precision_of_the_docs(repository: Repository) -> None:
    path = repository.path / "reports" / "metrics.json"
    metrics = repository.metrics()
    metrics["summary"]["ae_best_mse"] = 2.05468e-06  # as the full grid reaches
    path.write_text(json.dumps(metrics))
    assert "2.05468e-06" in repository.run("dvc", "metrics", "show", "--precision", "12", "--md")
    assert "2.05468e-06" in repository.run("dvc", "metrics", "diff", "--precision", "12")
    assert "2.05468e-06" not in repository.run("dvc", "metrics", "show", "--md")


@pytest.mark.parametrize("command", [("show",), ("diff", "HEAD", "ten")])
def test_plots_have_log_axes_and_figures_side_by_side(
    repository: Repository, tmp_path: Path, command: tuple[str, ...]
) -> None:
    repository.run("dvc", "plots", *command, "-o", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    decoder = json.JSONDecoder()
    charts = [decoder.raw_decode(page[found.end() :])[0] for found in re.finditer(r"var spec = (?=\{)", page)]
    by_title = {chart["title"]["text"]: chart for chart in charts}
    assert set(by_title) == {plot["title"] for plot in chart_plots().values()}
    assert "<DVC_METRIC" not in page
    for name, plot in chart_plots().items():
        chart = by_title[plot["title"]]
        encoding = (chart.get("spec") or chart)["encoding"]
        assert encoding["y"]["scale"]["type"] == ("linear" if name == "gap_db" else "log")
        if plot["x"] == "snr":
            assert encoding["x"]["scale"]["type"] == "log"
        revisions = {row["rev"] for row in chart["data"]["values"]}
        assert revisions == ({"workspace"} if command == ("show",) else {"HEAD", "ten"})
        used = set(re.findall(r"datum(?:\.|\[')(\w+)", json.dumps(chart))) - {"ratio", "value", "at"}
        assert used <= set(chart["data"]["values"][0])  # a column that is not there draws nothing
    images = sorted(path.name for path in (tmp_path / "static").iterdir())
    shown = sorted(path.name for path in (repository.path / "reports" / "figures").iterdir())
    assert len(images) == len(shown) * (1 if command == ("show",) else 2)
    assert all(f"static/{name}" in page for name in images)


def chart_plots() -> dict[str, dict[str, Any]]:
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    return {name: plot for entry in plots if isinstance(entry, dict) for name, plot in entry.items()}


def test_runs_side_by_side_are_one_table_and_one_picture(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = repository.run("python", "-m", "stages.compare", "HEAD", "ten", "workspace")
    table = (repository.path / "compare" / "compare.md").read_text()
    assert printed == table
    head, _, *rows = table.splitlines()
    assert head == "| | HEAD | ten | workspace |"
    cells = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]] for row in rows}
    assert cells["params.snr"] == ["1, 100", "10", "1, 100"]
    assert next(iter(cells)) == "params.snr"
    assert cells["snr_vae.d1-snr10.mse"][::2] == ["–", "–"]
    best = repository.metrics()["summary"]["snr_vae_best_mse"]
    assert cells["summary.snr_vae_best_mse"][0] == cells["summary.snr_vae_best_mse"][2] == f"{best:.4g}"
    names = [name.split(".")[0] for name in cells]
    assert names == sorted(names, key=["params", "summary", "ae", "snr_vae"].index)
    assert (repository.path / "compare" / "compare.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.chdir(repository.path)
    with pytest.raises(RevError, match="unknown Git revision 'nowhere'"):
        compare.compare(["nowhere"])


def test_the_graph_is_the_one_in_the_docs(repository: Repository) -> None:
    printed = repository.run("dvc", "dag", "--md").strip()
    assert printed.startswith("```mermaid")
    page = (ROOT / "docs" / "parameters.md").read_text()
    assert printed.replace("\t", "    ") in page.replace("\t", "    ")


@pytest.mark.parametrize("key", KEYS)
def test_a_changed_parameter_touches_the_stages_that_list_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    value, touched = KEYS[key]
    tree = yaml.safe_load((repository.path / "params.yaml").read_text())
    *sections, name = key.split(".")
    section = tree
    for part in sections:
        section = section[part]
    assert section[name] != value
    section[name] = value
    (repository.path / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    monkeypatch.chdir(repository.path)
    with Repo() as opened:  # what `dvc status` asks
        assert sorted(opened.status()) == sorted(touched)


def test_the_table_of_parameters_is_complete() -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    names = [
        f"{section}.{name}" if isinstance(value, dict) else section
        for section, value in tree.items()
        for name in (value if isinstance(value, dict) else [section])
    ]
    assert list(KEYS) == names


def test_a_clone_tells_whether_the_lock_fits(committed: Repository, tmp_path: Path) -> None:
    bare = clone(committed, tmp_path / "clone", cache=False)
    dry = ("dvc", "repro", "--dry", "--allow-missing")
    assert bare.stages_run(*dry) == []  # what CI asks: the lock fits, though there is no data

    with (bare.path / "snrvae" / "measurement" / "measures.py").open("a") as file:
        file.write("# another version\n")
    assert "failed to reproduce 'evaluate'" in bare.run(*dry, fails=True)  # it wants the data then
    bare.run("git", "checkout", "-q", ".")
    with (bare.path / "requirements.lock").open("a") as file:
        file.write("# another version\n")
    printed = bare.run(*dry, fails=True)  # the stages after a stale one miss its output
    assert "Running stage 'generate'" in printed


LEFT = [
    *("__pycache__/step.pyc", "step.pyo", ".ipynb_checkpoints/step-checkpoint.py", ".mypy_cache/step.json"),
    *(".step.py.swp", ".step.py.swo", ".step.py.kate-swp", "step.py~", "#step.py#", ".#step.py"),
    *(".~lock.step.py#", ".goutputstream-X1", "step.py.bak", "step.py.orig", "step.py.rej"),
    *("._step.py", ".DS_Store", ".directory", ".fuse_hidden0001", ".nfs0001", "Thumbs.db", "desktop.ini"),
]


def test_what_programs_leave_beside_the_code_makes_nothing_stale_and_is_not_for_git(
    committed: Repository,
) -> None:
    folders = [committed.path / folder for folder in ("snrvae", "snrvae/training", "stages")]
    paths = [folder / name for folder in folders for name in LEFT]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("of no concern")
    try:
        assert committed.stages_run("dvc", "repro", "--dry") == []
        assert committed.run("git", "status", "--porcelain") == ""
    finally:
        for path in paths:
            path.unlink()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="asks git what the project's files are")
def test_no_file_of_the_project_is_ignored_by_git_or_dvc() -> None:
    tracked = Repository(ROOT).run("git", "ls-files", "snrvae", "stages").split()
    command = ["dvc", "check-ignore", "--stdin"]
    done = subprocess.run(
        command, cwd=ROOT, input="\n".join(tracked), text=True, check=False, capture_output=True
    )
    assert (done.returncode, done.stdout) == (1, ""), "1: none of them is"
    assert Repository(ROOT).run("git", "ls-files", "--cached", "--ignored", "--exclude-standard") == ""


def test_the_queue_runs_experiments_side_by_side(committed: Repository, queue: Queue) -> None:
    queue.threads()
    status = queue.repository.run("dvc", "queue", "status")
    assert (status.count("Success"), status.count("Failed")) == (2, 1)
    assert queue.repository.run("git", "status", "--porcelain") == ""
    trained = [shown_in(queue.repository, name, "reports/training_vae.csv") for name in queue.names]
    rows = [text.splitlines()[1:] for text in trained]
    assert [{row.split(",")[3] for row in table} for table in rows] == [{"1"}, {"10"}]
    whole = (committed.path / "reports" / "training_vae.csv").read_text().splitlines()
    assert rows[0] == [row for row in whole if row.startswith("snr_vae,isotropic,1,1,")]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes through /proc")
def test_the_queue_hands_the_number_of_threads_to_the_stages(queue: Queue) -> None:
    assert queue.threads() == {"1"}


def test_two_temporary_experiments_at_once_do_not_disturb_each_other(
    committed: Repository, repository: Repository
) -> None:
    running = [
        subprocess.Popen(
            ["dvc", "exp", "run", "--temp", "-n", name, "-S", f"snr={snr}", "train_vae"],
            cwd=repository.path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        for name, snr in (("left", "[100]"), ("right", "[1,100,3]"))
    ]
    assert [process.wait(300) for process in running] == [0, 0]
    whole = (committed.path / "reports" / "training_vae.csv").read_text().splitlines()
    hundred = [row for row in whole if row.startswith("snr_vae,isotropic,1,100,")]
    assert shown_in(repository, "left", "reports/training_vae.csv").splitlines()[1:] == hundred
    assert set(whole) < set(shown_in(repository, "right", "reports/training_vae.csv").splitlines())
    assert repository.run("git", "status", "--porcelain") == ""


def processes_of(repository: Repository) -> set[str]:
    """OMP_NUM_THREADS of every stage that runs in a temporary folder of the repository."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            folder = (process / "cwd").readlink()
            stage = b"stages." in (process / "cmdline").read_bytes()
            variables = (process / "environ").read_text().split("\0")
        except OSError:
            continue  # it ended while we looked, or is another user's
        # a process that has just ended has no variables any more
        if stage and variables != [""] and folder.is_relative_to(repository.path / ".dvc" / "tmp" / "exps"):
            found.add(dict(v.split("=", 1) for v in variables if "=" in v).get("OMP_NUM_THREADS", "unset"))
    return found


def test_a_bad_parameter_is_the_same_line_wherever_it_came_from(repository: Repository, queue: Queue) -> None:
    right = "params.yaml: snr: -3 is wrong; expected a number from 1e-6 to 1e12"

    def line(printed: str) -> str:
        (found,) = {text for text in printed.splitlines() if right in text}
        assert "Traceback" not in printed
        return found

    before = repository.bytes()
    printed = repository.run("dvc", "exp", "run", "-S", "snr=-3", fails=True)
    by_option = line(printed)
    assert "train_vae: the experiment's settings stay in params.yaml" in printed
    assert settings_text(repository).endswith("snr: -3\n")  # a failed experiment leaves its parameters
    printed = repository.run("dvc", "repro", fails=True)
    by_file = line(printed)
    assert "stay in params.yaml" not in printed, "by hand: to go back would throw other edits away"
    checked = line(repository.run("python", "-m", "stages.check", fails=True))
    restore(repository)
    assert repository.bytes() == before

    queue.threads()
    queued = queue.repository.run("dvc", "queue", "logs", "bad")
    by_queue = line(queued)
    assert "stay in params.yaml" not in queued, "it ran in a copy"
    assert by_option == by_file == by_queue == checked.replace("check:", "train_vae:", 1)


def settings_text(repository: Repository) -> str:
    return (repository.path / "params.yaml").read_text()


def test_the_way_back_from_an_experiment_keeps_every_edit(repository: Repository) -> None:
    """An earlier stage has succeeded, a report is new, and other files have edits that are not committed."""
    (way,) = re.findall(r"^ *(touch .*)$", TROUBLESHOOTING, flags=re.MULTILINE)
    before, module = repository.bytes(), repository.path / "snrvae" / "__init__.py"
    with module.open("a") as file:
        file.write("# an edit\n")
    own = (repository.path / "params.yaml").read_text().replace("steps: 20", "steps: 21")
    (repository.path / "params.yaml").write_text(own)
    settings = ("-S", "seed=1", "-S", "train.learning_rate=1e30")
    printed = repository.run("dvc", "exp", "run", *settings, fails=True)
    assert "Running stage 'train_ae'" in printed
    assert "train_ae: the experiment's settings stay in params.yaml; docs/troubleshooting.md says" in printed
    assert "dvc.lock" in repository.run("git", "status", "--porcelain")
    (repository.path / "reports" / "figures" / "requested.png").write_bytes(b"new")

    repository.run("sh", "-c", way)
    assert repository.bytes() == before
    assert repository.run("git", "status", "--porcelain") == " M snrvae/__init__.py\n"
    shown = repository.run("git", "stash", "show", "-p", "-u")
    assert all(text in shown for text in ("+  steps: 21", "+  learning_rate: 1e+30", "requested.png"))
    repository.run("git", "stash", "drop", "-q")


def test_every_comment_of_the_settings_outlives_every_option(repository: Repository) -> None:
    shutil.copy(ROOT / "params.yaml", repository.path)
    comments = re.findall("#.*", (repository.path / "params.yaml").read_text())
    assert len(comments) > 10
    for value in ("[1]", "1"):
        options = [
            word
            for key in KEYS
            for word in ("-S", f"{key}={value if key in ('noise', 'latent_dim', 'snr') else KEYS[key][0]}")
        ]
        repository.run("dvc", "exp", "run", *options, "generate", fails=True)
        text = settings_text(repository)
        assert [line for line in comments if line not in text] == []


def test_edits_that_dvc_put_aside_and_lost_come_back(repository: Repository) -> None:
    """As an interrupt in the first second of `dvc exp run` can leave them: in a commit without a name."""
    (listing,) = re.findall(r"^git log .*$", TROUBLESHOOTING, flags=re.MULTILINE)
    (apply,) = re.findall(r"^git stash apply ID$", TROUBLESHOOTING, flags=re.MULTILINE)
    (repository.path / "params.yaml").write_text("an edit")
    with Git(str(repository.path)) as scm:
        scm.stash.push()
        scm.stash.drop()
    assert repository.run("git", "status", "--porcelain") == repository.run("git", "stash", "list") == ""
    listed = [line.split()[0] for line in repository.run("sh", "-c", listing).splitlines()]
    (lost,) = [one for one in listed if repository.run("git", "show", f"{one}:params.yaml") == "an edit"]
    assert len(lost) == 40, "git stash takes a short name of digits alone for a place in its list"
    repository.run("sh", "-c", apply.replace("ID", lost))
    assert settings_text(repository) == "an edit"


def test_a_sweep_without_the_queue_is_refused_and_changes_nothing(repository: Repository) -> None:
    printed = repository.run("dvc", "exp", "run", "-S", "snr=1,10", fails=True)
    assert "can't be used without `--queue`" in printed
    assert repository.run("git", "status", "--porcelain") == ""


def test_a_misspelt_parameter_is_refused_and_changes_nothing(repository: Repository) -> None:
    assert "snrr" in repository.run("dvc", "exp", "run", "-S", "snrr=10", fails=True)
    assert repository.run("git", "status", "--porcelain") == ""
