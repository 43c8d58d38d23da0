"""dvc.yaml against the code: what a stage lists is what it reads."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PACKAGES = ("snrvae", "stages")
FOLDER, KNOWN = "snrvae/sources", "snrvae/sources/known.py"
SOURCES = {str(path.relative_to(ROOT)) for path in (ROOT / FOLDER).glob("*.py")}  # a dependency as a whole
TEMPLATES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "snrvae/templates").iterdir())


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
    if file == KNOWN:  # imports its modules by their names
        return SOURCES
    names = set()
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
        waiting |= imported(current) - seen
    return frozenset(seen)


def listed_code(stage: str) -> list[str]:
    """Each module of ours that a stage depends on."""
    deps = STAGES[stage]["deps"]
    return [dep for dep in deps if dep.endswith(".py")] + sorted(SOURCES if FOLDER in deps else ())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_code_it_imports(stage: str) -> None:
    listed = listed_code(stage)
    assert sorted(listed) == sorted(closure(f"stages/{stage}.py"))
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_lock(stage: str) -> None:
    assert "requirements.lock" in STAGES[stage]["deps"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_only_the_stage_with_the_template_engine_depends_on_a_template(template: str) -> None:
    using = [stage for stage in STAGES if "snrvae/report.py" in listed_code(stage)]
    assert using == [stage for stage in STAGES if template in STAGES[stage]["deps"]] == ["render"]


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
    for package in PACKAGES:
        body = ast.parse((ROOT / package / "__init__.py").read_text()).body
        assert len(body) == 1
        assert ast.get_docstring(ast.Module(body, [])) is not None


def test_the_package_never_imports_the_stages() -> None:
    for file in (ROOT / "snrvae").glob("*.py"):
        assert not re.search(r"^\s*(from|import) stages", file.read_text(), re.MULTILINE), file


@pytest.mark.parametrize("stage", ["generate", "render"])
def test_stages_without_tensors_import_no_torch(stage: str) -> None:
    for file in closure(f"stages/{stage}.py"):
        assert not re.search(
            r"^\s*(from|import) (torch|safetensors)", (ROOT / file).read_text(), re.MULTILINE
        )
