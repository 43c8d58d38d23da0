"""Files of the pipeline: read whole and checked, written whole or not at all. Errors are one line each."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

from snrvae.settings import cache, machine, memory, params
from snrvae.settings.params import Params
from snrvae.sources import domain
from snrvae.sources.domain import Domain

Content = TypeVar("Content")

PARAMS = Path("params.yaml")
SIZED = ("train_ae", "train_vae", "evaluate")  # whose memory grows with the points that source.npz describes
TEMPORARY = ".part"  # .gitignore and .dvcignore leave such files out
INTERRUPTED = 130  # the exit code of Ctrl-C in shells


def run(stage: Callable[..., None], stored: bool = False) -> None:
    """Call a stage with the checked settings and the paths of its command line.

    User errors exit with status 1 and a line per fault, an interrupt (Ctrl-C) with status 130 and a line.
    `stored` means that the stage puts finished cells into the store.
    """
    name = stage.__module__ if stage.__module__ != "__main__" else Path(sys.argv[0]).stem
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # ignored in the background of a script
        signal.signal(signal.SIGINT, partial(_interrupt, name, stored))
    try:
        settings = read(PARAMS, lambda data: params.from_yaml(data.decode()))
        cores = machine.cores()
        stage_name, paths = name.rpartition(".")[2], [Path(path) for path in sys.argv[1:]]
        size = _size(read_domain(paths[0], settings), settings) if stage_name in SIZED else memory.Size()
        memory.check(settings, stage_name, cores, *machine.free_memory(cores), size=size)
        stage(settings, *paths)
    except (ValueError, OSError, MemoryError) as error:
        fail(name, error, _left_behind())


def _interrupt(name: str, stored: bool, *_: object) -> NoReturn:
    """End the process at once, like a kill.

    Libraries lose or replace an exception that is raised in their callbacks and destructors.
    """
    start = "\n" if os.isatty(2) else ""  # the terminal's line may hold ^C or a progress bar
    kept = stored and cache.folder() is not None
    again = "goes on, without the cells that are done" if kept else "runs it again"
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{name}: interrupted; `dvc repro` {again}\n".encode())
    os._exit(INTERRUPTED)


def fail(name: str, error: BaseException, advice: Sequence[str] = ()) -> NoReturn:
    """Exit with status 1 and the lines of error and advice, each after the stage's name."""
    lines = str(error).splitlines() or [type(error).__name__]
    sys.exit("\n".join(f"{name}: {line}" for line in [*lines, *advice]))


def _left_behind() -> list[str]:
    """A line if a `dvc exp run` in the workspace called the stage: its settings stay there."""
    experiment, root = os.environ.get("DVC_EXP_NAME"), os.environ.get("DVC_ROOT", "")
    if not experiment or Path(root).resolve() != Path.cwd():
        return []
    return ["the experiment's settings stay in params.yaml; docs/troubleshooting.md says how to go back"]


def show(text: str) -> None:
    """Print a text, with ? for characters that the output's encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), end="")


def read(path: Path, decode: Callable[[bytes], Content]) -> Content:
    """The content of a file. Raises ValueError, naming the file, if it cannot be read."""
    return stream(path, lambda file: decode(file.read()))


def stream(path: Path, decode: Callable[[BinaryIO], Content]) -> Content:
    """As `read`, for a file that is too large to be in memory together with its decoded content."""
    try:
        with path.open("rb") as file:
            return decode(file)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; `dvc repro` makes what is missing") from None
    except ValueError as error:
        raise ValueError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def read_domain(path: Path, settings: Params) -> Domain:
    """The domain in a source.npz. Raises ValueError unless it is of the settings' source."""
    found = stream(path, domain.from_archive)
    of_settings(path, found, settings)
    return found


def of_settings(path: Path, found: Domain, settings: Params) -> None:
    """Raise ValueError unless the domain that a file has is of the settings' source."""
    if found.name != settings.source:
        raise ValueError(
            f"{path}: of {found.name}, but params.yaml says {settings.source}; `dvc repro` makes it again"
        )


def _size(domain: Domain, settings: Params) -> memory.Size:
    return memory.Size(domain.coordinates, domain.num_classes(settings.conditional))


def write(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name and move it into place.

    Raises OSError, naming the file, if it cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*{TEMPORARY}"):  # left by a killed process
            left.unlink(missing_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(f"{path}: cannot be written ({error.strerror})") from None
        raise
