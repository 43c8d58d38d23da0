"""dvc.yaml against the code: what a stage lists is what it reads."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from snrvae.training import digest

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PACKAGES = ("snrvae", "stages")
FOLDERS = ("settings", "sources", "codecs", "training", "limit", "measurement", "reporting")
BY_NAME = {  # files that import modules by their names, and the folders of these
    "snrvae/sources/registry.py": "snrvae/sources",
    "snrvae/codecs/codec.py": "snrvae/codecs/networks",
}


def module_file(name: str) -> str | None:
    """The file of one of our modules, relative to the root; None for anything else."""
    path = Path(*name.split("."))
    if (ROOT / path).with_suffix(".py").is_file():
        return str(path.with_suffix(".py"))
    if path.parts[0] in PACKAGES and (ROOT / path / "__init__.py").is_file():
        return str(path / "__init__.py")
    return None


def imported(file: str) -> set[str]:
    """Our files that one of our files imports, and the packages that importing them runs."""
    names = set()
    if file in BY_NAME:
        modules = (ROOT / BY_NAME[file]).glob("*.py")
        names |= {".".join(module.relative_to(ROOT).with_suffix("").parts) for module in modules}
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {found for name in names if name.startswith(PACKAGES) and (found := module_file(name))}


@cache
def closure(file: str) -> frozenset[str]:
    """Every file of ours that running `file` reads as code."""
    seen, waiting = set(), {file, str(Path(file).parent / "__init__.py")}
    while waiting:
        current = waiting.pop()
        seen.add(current)
        packages = {str(folder / "__init__.py") for folder in Path(current).parents if folder.name}
        waiting |= (imported(current) | packages) - seen
    return frozenset(seen)


def dependencies(stage: str) -> set[str]:
    """What a stage depends on as code: files of stages, and the rooms of snrvae that it reads.

    Of sources a stage that trains reads a few files only, and depends on these: a new source trains nothing.
    """
    read = {file for file in closure(f"stages/{stage}.py") if not is_docstring(file)}
    whole = "snrvae/sources/registry.py" in read
    rooms = {folder for folder in FOLDERS if folder != "sources" or whole}
    if "snrvae/training/digest.py" in read:  # it reads these as bytes
        read |= {f"snrvae/{room}" for room in digest.ROOMS}
    return {_dependency(Path(file), rooms) for file in read}


def _dependency(file: Path, rooms: set[str]) -> str:
    in_room = file.parts[0] == "snrvae" and file.parts[1] in rooms
    return str(Path(*file.parts[:2])) if in_room else str(file)


def is_docstring(file: str) -> bool:
    """Whether a file is that of a package, which holds no code of its own: no result can depend on it."""
    return Path(file).name == "__init__.py"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_code_it_imports(stage: str) -> None:
    listed = [dep for dep in STAGES[stage]["deps"] if dep.startswith(PACKAGES)]
    assert sorted(listed) == sorted(dependencies(stage))


def test_every_module_stands_in_a_folder_that_a_stage_depends_on() -> None:
    modules = {path.relative_to(ROOT / "snrvae") for path in (ROOT / "snrvae").rglob("*.py")}
    assert {module.parts[0] for module in modules} == {*FOLDERS, "__init__.py", "processor.py"}


def test_a_folder_imports_from_those_before_it_only() -> None:
    for place, folder in enumerate(FOLDERS):
        for file in (ROOT / "snrvae" / folder).rglob("*.py"):
            others = {Path(name).parts[1] for name in imported(str(file.relative_to(ROOT)))}
            assert others <= {*FOLDERS[: place + 1], "__init__.py", "processor.py"}, file


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_lock(stage: str) -> None:
    assert "requirements.lock" in STAGES[stage]["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_files_of_the_command_are_the_files_dvc_tracks(stage: str) -> None:
    entry = STAGES[stage]
    _, _, module, *paths = entry["cmd"].split()
    outputs = [next(iter(out)) if isinstance(out, dict) else out for out in outputs_of(entry)]
    inputs = [dep for dep in entry["deps"] if not dep.startswith(PACKAGES)]
    assert module == f"stages.{stage}"
    assert set(paths) | {"requirements.lock"} == set(inputs) | set(outputs)
    assert len(paths) == len(set(paths))


def outputs_of(entry: dict[str, list[str | dict[str, object]]]) -> list[str | dict[str, object]]:
    return entry["outs"] + entry.get("metrics", [])


def test_package_files_hold_a_docstring_only() -> None:
    """The two outermost also import what sets the environment, before any library reads it."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("__init__.py")]
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert {file.parent for file in files} == folders
    for file in files:
        body = ast.parse(file.read_text()).body
        first = {
            ROOT / "snrvae": ["from snrvae import processor"],
            ROOT / "stages": ["from stages import environment"],
        }
        assert [ast.unparse(node) for node in body[1:]] == first.get(file.parent, [])
        assert ast.get_docstring(ast.Module(body, [])) is not None


def test_the_package_never_imports_the_stages() -> None:
    for file in (ROOT / "snrvae").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) stages", file.read_text(), re.MULTILINE), file


@pytest.mark.parametrize("stage", ["generate", "render"])
def test_stages_without_tensors_import_no_torch(stage: str) -> None:
    for file in closure(f"stages/{stage}.py"):
        assert not re.search(
            r"^\s*(from|import) (torch|safetensors)", (ROOT / file).read_text(), re.MULTILINE
        )
