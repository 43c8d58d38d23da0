"""Files of the pipeline: read whole and checked, written whole or not at all; errors in one line."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

from snrvae import params
from snrvae.params import Params

Content = TypeVar("Content")

PARAMS = Path("params.yaml")


def run(stage: Callable[..., None]) -> None:
    """Call a stage with the checked settings and the paths of its command line.

    What a person can put right ends the process with a line per fault and exit code 1.
    """
    name = stage.__module__ if stage.__module__ != "__main__" else Path(sys.argv[0]).stem
    try:
        stage(read(PARAMS, _settings), *map(Path, sys.argv[1:]))
    except (ValueError, OSError) as error:
        fail(name, error)


def fail(name: str, error: Exception) -> NoReturn:
    """End the process with the error's lines, each behind the stage's name."""
    sys.exit("\n".join(f"{name}: {line}" for line in str(error).splitlines()))


def read(path: Path, decode: Callable[[bytes], Content]) -> Content:
    """The content of a file. Raises ValueError that names the file where it cannot be had."""
    return stream(path, lambda file: decode(file.read()))


def stream(path: Path, decode: Callable[[BinaryIO], Content]) -> Content:
    """As `read`, of a file that is too large to be held whole beside what is decoded from it."""
    try:
        with path.open("rb") as file:
            return decode(file)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; `dvc repro` makes what is missing") from None
    except ValueError as error:
        raise ValueError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def write(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name and move it into place."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _settings(data: bytes) -> Params:
    try:
        return params.from_yaml(data.decode())
    except ValueError as error:
        # after a failed `dvc exp run --set-param` the wrong value is still in the file
        back = "(to put the file back: touch params.yaml && git checkout params.yaml)"
        raise ValueError("\n".join(f"{line} {back}" for line in str(error).splitlines())) from None
