"""Waits other than training: DVC with nothing to do, and a page that opens.

Times are processor seconds, and each is divided by another of the same run, as a busy machine changes both.
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from playwright.sync_api import Browser, sync_playwright

from snrvae.reporting import page
from tests.repository import TINY, Repository, create

REPORT = Path("reports", "report.html")
LIBRARY_ALONE = """<!doctype html><meta charset="utf-8"><div id="plot"></div><script>{plotly}</script><script>
Plotly.newPlot("plot", [{{ y: [1, 2] }}]).then(() => document.documentElement.dataset.ready = 1)
</script>"""


@dataclass(frozen=True)
class Wait:
    """Seconds of ours and of the reference, each the least of several rounds, and the ratio's bound."""

    ours: str
    theirs: str
    seconds: tuple[float, float]
    bound: float

    @property
    def ratio(self) -> float:
        return self.seconds[0] / self.seconds[1]


def measure(rounds: int) -> list[Wait]:
    """Both waits."""
    with TemporaryDirectory() as folder:
        return [nothing_to_do(Path(folder), rounds), page_opens(Path(folder), rounds)]


def nothing_to_do(folder: Path, rounds: int) -> Wait:
    """`dvc repro` in this project, tiny and up to date, and in a project with as many empty stages."""
    for name in ("ours", "empty"):
        (folder / name).mkdir()
    ours, empty = create(folder / "ours", TINY), Repository(folder / "empty")
    ours.run("dvc", "repro", "-q")
    for command in ("git init -q", "dvc init -q"):
        empty.run(*command.split())
    (empty.path / "one").touch()
    names = yaml.safe_load((ours.path / "dvc.yaml").read_text())["stages"]
    stages = {name: {"cmd": "true", "deps": ["one"]} for name in names}
    (empty.path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    empty.run("dvc", "repro", "-q")

    def spent(repository: Repository) -> float:
        before = os.times()
        if repository.stages_run("dvc", "repro"):
            sys.exit("dvc repro had something to do")
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    seconds = least(lambda: (spent(ours), spent(empty)), rounds)
    return Wait("`dvc repro` with nothing to do", "the same with empty stages", seconds, 2)


def page_opens(folder: Path, rounds: int) -> Wait:
    """The time until the committed grid's page shows its first cell, and a Plotly page its two points."""
    if not REPORT.exists():
        sys.exit(f"{REPORT} is missing: run make first")
    alone = folder / "library.html"
    alone.write_text(LIBRARY_ALONE.format(plotly=page.PLOTLY.read_text(encoding="utf-8")))
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        chromium = (
            shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        )
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"] * root)
        pages = (REPORT.resolve(), "html[data-cell]"), (alone, "html[data-ready]")
        seconds = least(lambda: tuple(opening(browser, *page) for page in pages), rounds)
        browser.close()
    return Wait("the report's page opens", "a page of Plotly with two points", seconds, 2)


def opening(browser: Browser, path: Path, ready: str) -> float:
    """Processor seconds of a page until it is ready."""
    page = browser.new_page()
    counted = page.context.new_cdp_session(page)
    counted.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    page.wait_for_selector(ready)
    found = {each["name"]: each["value"] for each in counted.send("Performance.getMetrics")["metrics"]}
    page.close()
    return float(found["TaskDuration"])


def least(pair: Callable[[], tuple[float, ...]], rounds: int) -> tuple[float, float]:
    """The least of each of two times over some rounds."""
    ours, theirs = (min(times) for times in zip(*(pair() for _ in range(rounds)), strict=True))
    return ours, theirs
