"""README.md and the pages in docs/ are true: links, paths, commands and parameters are resolved."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from dvc.cli import parse_args

from snrvae.codecs import files
from snrvae.codecs.codec import Architecture, Codec
from snrvae.settings import params
from snrvae.settings.grid import Cell
from snrvae.sources import cube, registry

ROOT = Path(__file__).parents[2]
GUIDES = {  # the pages for users, and the most words of prose that each may have
    "README.md": 700,
    "CONTRIBUTING.md": 600,
    **{
        f"docs/{name}.md": 600
        for name in (
            "parameters",
            "experiments",
            "comparing",
            "guarantees",
            "cluster",
            "own-data",
            "reproducibility",
            "store",
            "extending",
            "troubleshooting",
        )
    },
}
OTHERS = ("docs/tried.md", "docs/checks.md", "docs/metrics.md", "docs/theory.md", "docs/decisions.md")
PAGES = {name: (ROOT / name).read_text() for name in (*GUIDES, *OTHERS)}
TREE = yaml.safe_load((ROOT / "params.yaml").read_text())
EVERY_STAGE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = {
    name: stage for name, stage in EVERY_STAGE.items() if not stage.get("frozen")
}  # what dvc repro runs
MADE = ("compare/", "sent/", "dvc_plots/", "data/", ".venv", "reports/report.html")  # what only commands make
ADDED = ("snrvae/codecs/networks/normed.py", "snrvae/sources/normal2.py")  # by docs/extending.md
PATH = r"[\w.-]*/[\w./-]*|[\w-]+\.(py|md|yaml|lock|toml)"
FENCE = re.compile(r"^ *```.*?^ *```", flags=re.DOTALL | re.MULTILINE)
WAY_BACK = "git stash push -u -- params.yaml dvc.lock reports"


def prose(page: str) -> str:
    return FENCE.sub("", PAGES[page])


def quoted(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def lines(page: str) -> list[str]:
    """Every line of the sh blocks that is not a comment."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if shlex.split(line, comments=True)]


def commands(page: str) -> list[str]:
    """Every line of the sh blocks, and every command in backticks."""
    return lines(page) + [code for code in quoted(page) if re.match(r"(make|dvc|\S+=\S+ dvc)( |$)", code)]


def every(*found: tuple[str, list[str]]) -> list[Any]:
    """(page, one thing on it) for each thing that is found, once."""
    return [(page, one) for page, things in found for one in sorted(set(things))]


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


def links(page: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", prose(page))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_tested() -> None:
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(PAGES)


@pytest.mark.parametrize("page", GUIDES)
def test_a_page_is_short(page: str) -> None:
    """Words outside tables and blocks of code."""
    text = [line for line in prose(page).splitlines() if not line.lstrip().startswith("|")]
    assert len(" ".join(text).split()) <= GUIDES[page]


@pytest.mark.parametrize("page", [page for page in GUIDES if page != "README.md"])
def test_the_readme_leads_to_every_page(page: str) -> None:
    assert page in links("README.md")


def test_every_parameter_is_in_the_table_as_it_is() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGES["docs/parameters.md"].splitlines()
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


@pytest.mark.parametrize(("page", "link"), every(*((page, links(page)) for page in PAGES)))
def test_a_link_leads_somewhere(page: str, link: str) -> None:
    if link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text())


@pytest.mark.parametrize(
    ("page", "path"),
    every(*((page, [code for code in quoted(page) if re.fullmatch(PATH, code)]) for page in PAGES)),
)
def test_a_path_exists(page: str, path: str) -> None:
    """From the root; docs/decisions.md also calls a module by its name alone."""
    named = page == "docs/decisions.md" and any((ROOT / "snrvae").glob(f"*/{path}"))
    assert path.startswith((*MADE, *ADDED)) or (ROOT / path).exists() or named


@pytest.mark.parametrize(("page", "command"), every(*((page, commands(page)) for page in PAGES)))
def test_a_command_is_one_that_runs(page: str, command: str) -> None:
    tool, *rest = words(command)
    if tool == "make":
        makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
        targets = re.findall(r"^([\w./-]+):", makefile, flags=re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets)
    elif tool == "dvc":
        options = vars(parse_args(rest))  # exits if DVC knows no such command or option
        added = re.findall(r"^\+  (\w+): [\d.]+ #", PAGES[page], flags=re.MULTILINE)
        known = {*leaves(TREE), *(f"train.{name}" for name in added)}
        for setting in options.get("set_param") or []:
            assert setting.split("=")[0] in known
    else:
        assert tool in (".", "git", "python", "touch"), command
        if tool == "python" and rest[0] == "-m" and rest[1].startswith(("stages.", "snrvae.", "examples.")):
            assert (ROOT / f"{rest[1].replace('.', '/')}.py").exists()


def test_the_dvc_stages_that_are_named_exist() -> None:
    named = re.findall(r'node\d+\["(\w+)"\]', PAGES["docs/parameters.md"])
    assert sorted(named) == sorted(EVERY_STAGE)


def changed(tree: Mapping[str, Any], settings: list[str]) -> dict[str, Any]:
    """A tree of parameters with the settings of a command."""
    made: dict[str, Any] = yaml.safe_load(yaml.safe_dump(dict(tree)))
    for setting in settings:
        key, _, value = setting.partition("=")
        *sections, name = key.split(".")
        section = made
        for part in sections:
            section = section[part]
        section[name] = yaml.safe_load(value)
    return made


def experiments(page: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every `dvc exp run` of a page in order, with the parameters that it finds if all before it have run."""
    workspace, kept = TREE, {}
    for line in lines(page):
        if WAY_BACK in line:
            workspace = TREE
            continue
        tool, *rest = words(line)
        options = vars(parse_args(rest)) if tool == "dvc" else {}
        if rest[:2] == ["exp", "apply"]:
            workspace = kept.get(rest[2], workspace)
        if rest[:2] == ["exp", "run"] and not options["queue"]:
            made = changed(workspace, options["set_param"] or [])
            kept[options["name"]] = made
            yield line, made
            workspace = workspace if options["tmp_dir"] else made


@pytest.mark.parametrize("page", [page for page in GUIDES if page != "docs/extending.md"])
def test_the_experiments_of_a_page_run_in_their_order(page: str) -> None:
    for line, tree in experiments(page):
        read = params.from_yaml(yaml.safe_dump(tree))
        if source := registry.SOURCES.get(read.source):
            assert source.domain.num_classes(read.conditional) >= 0, line


@pytest.mark.parametrize("page", GUIDES)
def test_a_page_compares_only_runs_that_it_has_made(page: str) -> None:
    made = {"HEAD", "NAME", "BRANCH", "workspace", "main"}
    for line in lines(page):
        tool, *rest = words(line)
        options = vars(parse_args(rest)) if tool == "dvc" else {}
        if rest[:2] == ["exp", "run"]:
            made.add(options["name"])
        elif rest[1:2] == ["diff"]:
            named = options.get("revisions") or [options.get("a_rev"), options.get("b_rev")]
            assert {*named} - {None} <= made, line
        elif rest[:2] in (["exp", "apply"], ["exp", "remove"]):
            assert rest[2] in made, line


def test_the_python_of_the_readme_uses_a_codec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (text,) = re.findall(r"^```python\n(.*?)^```", PAGES["README.md"], flags=re.DOTALL | re.MULTILINE)
    network = params.Network.model_validate(TREE["network"])
    codec = Codec(Architecture(Cell("isotropic", 2, 100.0, 0), network, 0, cube.SOURCE.domain, "torch"))
    codec.measure_power(torch.rand(64, 3))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "codecs.safetensors").write_bytes(files.to_bytes({"d2-snr100": codec}))
    monkeypatch.chdir(tmp_path)
    exec(text, {})
    assert capsys.readouterr().out.count("[") == 1 + 3 + 1 + 5  # three points, and five generated ones
