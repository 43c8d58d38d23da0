"""`dvc plots show` and `dvc plots diff`: pages that draw every chart without a network."""

import hashlib
import re
import shutil

import pytest
from playwright.sync_api import sync_playwright

from tests.reporting.test_page import CHROMIUM, SANDBOX, needs_browser
from tests.repository import ROOT, Repository, create

SCRIPTS = {  # as npm has them, and their SHA-256
    "vega@5.33.1": "463f3db6a40b20e9747b4ed38f37ed0add508838f9141b1cf8366784b07b30c8",
    "vega-lite@5.23.0": "58c27358e26f2d319cf62f45bc17a4c8362f08645001df2ec8d341eee4097c7f",
    "vega-embed@6.29.0": "12d02acfbe3ec59ef9a37dd4822a2e04e2961b5bbb671bbe661d2221715b99da",
}
DRAWN = """() => [...document.querySelectorAll("canvas.marks")].map(canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
})"""


def test_the_scripts_are_byte_for_byte_what_their_packages_ship() -> None:
    page = (ROOT / ".dvc" / "plots" / "page.html").read_text(encoding="utf-8")
    found = re.findall(r'<script id="(\S+)">(.*?)</script>', page, flags=re.DOTALL)
    assert {name: hashlib.sha256(text.encode()).hexdigest() for name, text in found} == SCRIPTS
    assert "{scripts}" not in page  # there DVC would put addresses


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The project with its committed reports, and another mse in the workspace."""
    made = create(tmp_path_factory.mktemp("plots"), {}, limit=False)
    shutil.copytree(ROOT / "reports", made.path / "reports", dirs_exist_ok=True)
    made.run("git", "add", "-A")
    made.run("git", "commit", "-q", "-m", "reports")
    cells = made.path / "reports" / "cells.csv"
    cells.write_text(cells.read_text().replace(",0.00", ",0.01"))
    return made


@needs_browser
@pytest.mark.parametrize("command", [("show",), ("diff", "HEAD", "workspace")])
def test_every_chart_is_drawn_and_nothing_is_asked_of_the_network(
    repository: Repository, command: tuple[str, ...]
) -> None:
    repository.run("dvc", "plots", *command)
    page = repository.path / "dvc_plots" / "index.html"
    seen: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SANDBOX)
        opened = browser.new_context(offline=True).new_page()
        opened.on("request", lambda request: seen.append(request.url))
        opened.on("pageerror", lambda error: seen.append(str(error)))
        opened.goto(page.as_uri())
        charts = page.read_text(encoding="utf-8").count("vegaEmbed('#")
        opened.wait_for_function(f"document.querySelectorAll('canvas.marks').length === {charts}")
        colours = opened.evaluate(DRAWN)
        browser.close()
    assert charts == 5
    assert min(colours) > 10
    folder = page.parent.as_uri()
    assert [each for each in seen if not each.startswith(folder)] == []
