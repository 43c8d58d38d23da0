"""README.md and docs/troubleshooting.md say what is so: paths, commands and parameters are resolved."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.cli import parse_args

from snrvae.settings import params

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text() + (ROOT / "docs" / "troubleshooting.md").read_text()
TREE = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MADE = ("compare/", "dvc_plots/", "data/", ".venv", "reports/report.html")  # what only commands make
PATH = r"[\w.-]*/[\w./-]*|[\w-]+\.(py|md|yaml|lock|toml)"
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
QUOTED = re.findall(r"`([^`\n]+)`", PROSE)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def commands() -> list[str]:
    """Every line of the sh blocks, and every command in backticks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    quoted = [code for code in QUOTED if re.match(r"(make|dvc|\S+=\S+ dvc)( |$)", code)]
    return [line for line in [*lines, *quoted] if shlex.split(line, comments=True)]


def words(command: str) -> list[str]:
    """The command without comment, redirections and leading variables."""
    found = shlex.split(command.split(" > ", maxsplit=1)[0], comments=True)
    while re.fullmatch(r"[A-Z_]+=.*", found[0]):
        found.pop(0)
    return found


def rerun(name: str) -> list[str]:
    """The stages that list a parameter, or a key above it, and every stage after one of those."""
    above = {name, name.split(".", maxsplit=1)[0]}
    reached = {stage for stage, entry in STAGES.items() if above & set(entry.get("params", []))}
    while True:
        written = {path for stage in reached for path in outputs(STAGES[stage])}
        more = {stage for stage, entry in STAGES.items() if written & set(entry["deps"])} - reached
        if not more:
            return [stage for stage in STAGES if stage in reached]
        reached |= more


def outputs(entry: Mapping[str, Any]) -> list[str]:
    return [
        next(iter(out)) if isinstance(out, dict) else out
        for out in [*entry.get("outs", []), *entry.get("metrics", [])]
    ]


def description(name: str) -> str | None:
    model: Any = params.Params
    *sections, last = name.split(".")
    for section in sections:
        model = model.model_fields[section].annotation
    return model.model_fields[last].description


def test_every_parameter_stands_in_the_table_as_it_is() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in README.splitlines()
        if line.startswith("| `") and line.count("|") == 7
    ]
    assert [row[0].strip("`") for row in rows] == list(leaves(TREE))
    for name, default, unit, allowed, what, stages in rows:
        key = name.strip("`")
        assert yaml.safe_load(default) == leaves(TREE)[key], key
        assert allowed == description(key), key
        assert stages.split(", ") == rerun(key), key
        assert unit
        assert what


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_a_link_leads_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()


@pytest.mark.parametrize("path", sorted({code for code in QUOTED if re.fullmatch(PATH, code)}))
def test_a_path_exists(path: str) -> None:
    assert path.startswith(MADE) or (ROOT / path).exists()


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one_that_runs(command: str) -> None:
    tool, *rest = words(command)
    if tool == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets)
    elif tool == "dvc":
        options = vars(parse_args(rest))  # exits where DVC knows no such command or option
        for setting in options.get("set_param") or []:
            assert setting.split("=")[0] in leaves(TREE)
    else:
        assert tool in (".", "git", "python", "touch"), command


def test_the_dvc_stages_that_are_named_exist() -> None:
    named = re.findall(r'node\d+\["(\w+)"\]', README)
    assert sorted(named) == sorted(STAGES)
