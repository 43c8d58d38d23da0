"""The interactive page: what it is made of, and what people do with it in a real browser."""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import draw_splits
from playwright.sync_api import Browser, Page, sync_playwright

from snrvae.limit import shannon
from snrvae.measurement import metrics
from snrvae.reporting import lines, page
from snrvae.settings import params, tables
from snrvae.settings.grid import Cell
from snrvae.sources import cube

ROOT = Path(__file__).parents[2]
LARGEST = 2_500_000  # bytes
PLOTLY = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"  # SHA-256
CELLS = tables.from_csv((ROOT / "reports" / "cells.csv").read_bytes())

LIMIT = shannon.table_from_csv((ROOT / "reports" / "rate_distortion.csv").read_bytes())


def content(cells: pd.DataFrame, version: str = "2.0") -> dict[str, Any]:
    """What the page shows of these cells, with clouds made up at random."""
    rng = np.random.default_rng(0)
    clouds = {}
    for row in cells[cells.selected == 1].to_dict("records"):
        snr = None if row["noise"] == "none" else row["snr"]
        cell = Cell(row["noise"], row["latent_dim"], snr, 0)
        name = f"{cell.model}/{cell.key}"
        clouds[f"{name}/reconstructed"] = rng.random((3000, 3), np.float32)
        clouds[f"{name}/generated"] = rng.normal(0.5, 0.4, (3000, 3)).astype(np.float32)
        clouds[f"{name}/latents"] = rng.standard_normal((6000, row["latent_dim"]), np.float32)
    return page.content(
        params.from_yaml((ROOT / "params.yaml").read_text()),
        cells,
        metrics.tree(cells),
        lines.of(cells, LIMIT, cube.SOURCE, False, (1, 2, 3)),
        clouds,
        draw_splits(cube.SOURCE, {"test": 3000}, seed=0)["test"],
        cube.SOURCE,
        {"torch": version},
    )


class Structure(HTMLParser):
    """Tags in order, addresses, and the text of the page's data."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.data = ""
        self._in_data = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(f"{tag} {' '.join(name for name, _ in attrs)}")
        self.attributes += attrs
        self._in_data = ("type", "application/json") in attrs

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")
        self._in_data = False

    def handle_data(self, data: str) -> None:
        self.data += data if self._in_data else ""


@pytest.fixture(scope="module")
def text() -> str:
    return page.html(content(CELLS))


# What it is made of


def test_the_same_input_gives_the_same_page_of_at_most_two_and_a_half_megabytes(text: str) -> None:
    assert page.html(content(CELLS)) == text
    assert len(text.encode()) < LARGEST


def test_plotly_is_byte_for_byte_what_its_package_ships() -> None:
    assert hashlib.sha256(page.PLOTLY.read_bytes()).hexdigest() == PLOTLY
    licence = (page.PLOTLY.parent / "LICENSE").read_text()
    assert "MIT" in licence
    assert b"Licensed under the MIT license" in page.PLOTLY.read_bytes()[:300]


def test_a_larger_grid_gets_smaller_clouds_and_no_larger_page(text: str) -> None:
    copies = [CELLS.assign(snr=CELLS.snr * 2**k) for k in range(3)]
    noisy = [copy[copy.noise != "none"] for copy in copies]
    large = page.html(content(pd.concat([CELLS[CELLS.noise == "none"], *noisy])))
    assert len(large.encode()) < LARGEST
    assert large.count("<tr data-index") > 2.5 * text.count("<tr data-index")


def test_every_address_in_the_page_is_a_file_beside_it_or_a_place_in_it(text: str) -> None:
    addresses = {value for name, value in Structure(text).attributes if name in ("src", "href", "srcset")}
    assert addresses == {"README.md", "#choose", "data:,"}
    style = text[text.index("<style>") : text.index("</style>")]
    assert ("url(" in style, "@import" in style) == (False, False)
    assert "default-src 'none'" in text


def replaced(value: Any, text: str) -> Any:
    """The same tree with another text behind every string."""
    if isinstance(value, dict):
        return {key: replaced(part, text) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(part, text) for part in value]
    return value + text if isinstance(value, str) else value


def test_text_never_becomes_markup() -> None:
    harmless = replaced(content(CELLS), "harmless")
    harmful = replaced(
        content(CELLS), """</script><script>alert(1)</script><!--"'><img src=x onerror=a()>&amp;"""
    )
    found = Structure(page.html(harmful))
    assert found.tags == Structure(page.html(harmless)).tags
    assert json.loads(found.data) == harmful


def test_points_come_back_within_half_a_step_and_those_outside_are_counted() -> None:
    points = np.array([[0, 1, 0.5], [0.123456, 1.29, -0.29], [0, 0, 1.31], [-9, 0, 0]], np.float32)
    ((low, high), *_) = page._frame(cube.SOURCE)
    cloud = page._cloud(points, np.arange(4, dtype=np.uint8), cube.SOURCE)
    steps = np.frombuffer(base64.b64decode(cloud["points"]), "<u2").reshape(3, -1).T
    assert low + steps * (high - low) / 65535 == pytest.approx(points[:2], abs=(high - low) / 65535)
    assert base64.b64decode(cloud["label"]) == b"\x00\x01"
    assert cloud["outside"] == "50.0%"


def test_the_page_has_the_two_parts_of_a_gap_if_the_table_has_them() -> None:
    shown = content(CELLS)
    priced = [cell["text"] for cell in shown["cells"] if cell["text"]["network_db"] != "–"]
    assert len(priced) == CELLS.network_db.notna().sum() > 0
    for text in priced:
        parts = float(text["one_point_db"]) + float(text["network_db"])
        assert parts == pytest.approx(float(text["gap_db"]), abs=0.02)
    assert 'data-fact="network_db"' in page.html(shown)
    without = page.html(content(CELLS.assign(one_point_db=np.nan, network_db=np.nan)))
    assert 'data-fact="network_db"' not in without
    assert "at a time" not in without


def test_histograms_are_densities() -> None:
    latents = np.random.default_rng(0).standard_normal((100_000, 2))
    found = page._densities(latents)
    width = found["centre"][1] - found["centre"][0]
    assert np.sum(found["density"], axis=1) * width == pytest.approx([1, 1], abs=2e-3)
    normal = np.exp(-(np.array(found["centre"]) ** 2) / 2) / np.sqrt(2 * np.pi)
    assert np.array(found["density"]) == pytest.approx(np.array([normal, normal]), abs=0.03)


# In a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SANDBOX = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()


def needs_browser(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that opens the page."""
    skip = pytest.mark.skipif(CHROMIUM is None, reason="no browser: `apt-get install chromium`")
    return pytest.mark.slow(skip(test))


@pytest.fixture(scope="module")
def address(text: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=SANDBOX)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def seen() -> list[str]:
    """Requests and errors of the opened page."""
    return []


@pytest.fixture(scope="module")
def start() -> str:
    """The cell that is shown first: the best generator of the committed cells."""
    noisy = json.loads((ROOT / "reports" / "metrics.json").read_text())["snr_vae"]
    return f"snr_vae/{min(noisy, key=lambda key: noisy[key]['generation_ratio'])}"


@pytest.fixture(scope="module")
def opened(browser: Browser, address: str, start: str, seen: list[str]) -> Page:
    made = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    made.on("request", lambda request: seen.append(request.url))
    made.on("pageerror", lambda error: seen.append(str(error)))
    made.on("console", lambda message: seen.append(message.text) if message.type == "error" else None)
    made.goto(address)
    shows(made, start)
    return made


def shows(opened: Page, cell: str) -> None:
    """Wait until the page has drawn a cell, and check that all its parts agree on it."""
    opened.wait_for_selector(f'html[data-cell="{cell}"]', timeout=20_000)
    found = opened.evaluate(
        """() => ({
            row: page.cells[document.querySelector("tr.chosen").dataset.index].name,
            pressed: document.querySelectorAll("tbody [aria-pressed=true]").length,
            controls: Object.fromEntries(new FormData(byId("choose"))),
            title: byId("chosen").textContent,
            ring: byId("plane").data.find(trace => trace.marker?.symbol === "circle-open").y[0],
            latents: byId("latents").data.length - 1,
        })"""
    )
    cells = opened.evaluate("page.cells.map(({name, noise, latent_dim, snr, mse, title}) => "
                            "({name, noise, latent_dim, snr, mse, title}))")  # fmt: skip
    (expected,) = (each for each in cells if each["name"] == cell)
    assert (found["row"], found["pressed"]) == (cell, 1)
    assert found["title"] == expected["title"]
    assert found["ring"] == expected["mse"]
    assert found["latents"] == expected["latent_dim"]
    assert found["controls"]["noise"] == expected["noise"]
    assert found["controls"]["latent_dim"] == str(expected["latent_dim"])
    assert float(found["controls"].get("snr", "nan")) == pytest.approx(expected["snr"] or np.nan, nan_ok=True)


def until(opened: Page, expression: str) -> None:
    """Wait for a condition; the page's policy forbids Playwright's own way, which evaluates text in it."""
    for _ in range(200):
        if opened.evaluate(expression):
            return
        opened.wait_for_timeout(50)
    raise AssertionError(f"not within ten seconds: {expression}")


def first_generated(opened: Page) -> float:
    return opened.evaluate("clouds.generated.x[0]")


@needs_browser
@pytest.mark.usefixtures("opened")
def test_it_loads_without_an_error_and_asks_for_nothing_but_itself(seen: list[str], address: str) -> None:
    own, library = seen
    assert own == address
    assert library.startswith("blob:"), "Plotly, out of the page's own memory"


@needs_browser
def test_the_chooser_changes_cloud_row_and_point(opened: Page) -> None:
    opened.get_by_label("isotropic", exact=True).check()
    opened.get_by_label("3", exact=True).check()
    opened.get_by_label("10", exact=True).check()
    shows(opened, "snr_vae/d3-snr10")
    before = first_generated(opened)
    opened.get_by_label("learned", exact=True).check()
    shows(opened, "snr_vae_learned/d3-snr10")
    assert first_generated(opened) != before
    opened.get_by_label("none (AE)").check()
    shows(opened, "ae/d3")
    assert opened.get_by_label("1000", exact=True).is_disabled()


@needs_browser
def test_a_click_on_a_row_chooses_its_cell(opened: Page) -> None:
    button = opened.get_by_label("Show SNR-VAE, isotropic noise, d = 1, SNR 1000", exact=True)
    opened.locator("tbody tr", has=button).locator("td").last.click()
    shows(opened, "snr_vae/d1-snr1000")


@needs_browser
@pytest.mark.parametrize("cell", ["snr_vae/d2-snr10", "ae/d2"])
def test_a_click_on_a_point_of_the_plane_chooses_its_cell(opened: Page, cell: str) -> None:
    opened.locator("#plane").scroll_into_view_if_needed()
    x, y = opened.evaluate(
        """name => {
            const { x, y } = byId("plane").getBoundingClientRect();
            const { xaxis, xaxis2, yaxis } = byId("plane")._fullLayout;
            const cell = page.cells.find(each => each.name === name);
            const [across, value] = cell.snr === null ? [xaxis2, 0] : [xaxis, cell.bits];
            return [x + across._offset + across.d2p(value), y + yaxis._offset + yaxis.d2p(cell.mse)];
        }""",
        cell,
    )
    opened.mouse.move(x, y)
    opened.wait_for_timeout(200)  # Plotly looks for the nearest point at most so often
    opened.mouse.click(x, y)
    shows(opened, cell)


@needs_browser
def test_the_keyboard_reaches_the_chooser_and_operates_it(opened: Page) -> None:
    opened.get_by_role("button", name="Show SNR-VAE, isotropic noise, d = 2, SNR 10", exact=True).focus()
    opened.keyboard.press("Enter")
    shows(opened, "snr_vae/d2-snr10")
    fact = opened.locator('[data-fact="network_db"]').inner_text()
    assert fact == f"{opened.evaluate('chosen().text.network_db')} dB"
    opened.locator("#theme").focus()
    for _ in range(3):  # noise, d, SNR
        opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.name") == "snr"
    outline = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert opened.evaluate(outline) == "solid"
    opened.keyboard.press("ArrowRight")
    shows(opened, "snr_vae/d2-snr100")


@needs_browser
def test_clouds_turn_together_by_hand_and_by_slider(opened: Page) -> None:
    pictures = "CLOUDS.map(kind => byId(kind).toDataURL())"
    before = opened.evaluate(pictures)
    opened.locator("#turn").fill("90")
    by_slider = opened.evaluate(pictures)
    assert len({*before, *by_slider}) == 6
    opened.locator("#generated").scroll_into_view_if_needed()
    box = opened.locator("#generated").bounding_box()
    assert box is not None
    opened.mouse.move(box["x"] + 100, box["y"] + 150)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 160, box["y"] + 130, steps=3)
    opened.mouse.up()
    opened.mouse.move(box["x"] + 100, box["y"] + 150)  # nobody holds it any more
    until(opened, "camera.turn === 60 && camera.tilt === 12")  # 60 pixels to the right, 20 up
    assert opened.evaluate("[byId('turn').value, byId('tilt').value]") == ["60", "10"]  # the nearest stops
    assert len({*before, *by_slider, *opened.evaluate(pictures)}) == 9
    opened.evaluate("turnTo(-190, 100)")
    assert opened.evaluate("[camera.turn, camera.tilt]") == [170, 85]


@needs_browser
def test_a_picture_is_what_an_eye_five_sides_away_sees(opened: Page) -> None:
    opened.evaluate("turnTo(0, 0)")
    width = 1.2  # sides of the cube that a picture shows
    side = 100 / opened.evaluate("VIEW") / width
    assert opened.evaluate("EYE") * width == pytest.approx(5)
    placed = """[[0.5, 0.5, 0.5], [1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1], [0, 1, 0]]
        .map(point => perspective(300, 200)(...point))"""
    near, far = 5 / 4.5, 5 / 5.5
    expected = [
        (150, 100, 1),
        (150, 100, near),
        (150 + side / 2, 100, 1),
        (150, 100 - side / 2, 1),
        (150 + far * side / 2, 100 + far * side / 2, far),
    ]
    assert np.array(opened.evaluate(placed)) == pytest.approx(np.array(expected))
    opened.evaluate("turnTo(90, 0)")
    assert opened.evaluate("perspective(300, 200)(0, 0.5, 0.5)") == pytest.approx([150 + side / 2, 100, 1])


@needs_browser
def test_every_point_is_drawn_where_it_lies_and_the_nearest_on_top(opened: Page) -> None:
    drawn = """() => {
        turnTo(30, 20);
        const { x, y, z, colours } = clouds.original;
        const canvas = byId("original");
        const place = perspective(canvas.clientWidth, canvas.clientHeight);
        const dots = colours.map((colour, k) => [...place(x[k], y[k], z[k]), colour]);
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const byte = value => value.toString(16).padStart(2, "0");
        const hex = at => "#" + [...data.slice(at, at + 3)].map(byte).join("");
        return dots.map(([right, down, size, colour]) => {
            const at = 4 * (Math.floor(down) * canvas.width + Math.floor(right));
            const over = dots.filter(dot => Math.hypot(dot[0] - right, dot[1] - down) < 5 && dot[2] > size);
            return [over.length, hex(at), colour.toLowerCase()];
        });
    }"""
    dots = opened.evaluate(drawn)
    free = [(seen, colour) for over, seen, colour in dots if over == 0]
    assert len(free) > 100
    assert all(seen == colour for seen, colour in free)


@needs_browser
def test_the_table_downloads_with_every_column_of_its_rows(opened: Page) -> None:
    opened.locator("tbody button").last.focus()
    opened.locator("#download").focus()
    with opened.expect_download() as download:
        opened.keyboard.press("Enter")
    assert download.value.suggested_filename == "codecs.csv"
    found = tables.from_csv(download.value.path().read_bytes())
    keys = ["noise", "latent_dim", "snr"]
    expected = CELLS[CELLS.selected == 1]
    assert len(found) == len(expected)
    pd.testing.assert_frame_equal(
        *(table.sort_values(keys, ignore_index=True) for table in (found, expected))
    )


@needs_browser
def test_dark_and_light_follow_the_system_and_the_button(opened: Page) -> None:
    look = "[getComputedStyle(document.body).backgroundColor, byId('plane').layout.font.color]"
    button = opened.get_by_role("button", name="Dark")
    light = opened.evaluate(look)
    opened.emulate_media(color_scheme="dark")
    until(opened, f"({look}).every((colour, k) => colour !== {json.dumps(light)}[k])")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    until(opened, f"({look}).join() === {json.dumps(light)}.join()")
    assert button.get_attribute("aria-pressed") == "false"


@needs_browser
def test_on_a_phone_nothing_overflows(opened: Page) -> None:
    opened.set_viewport_size({"width": 360, "height": 740})
    opened.locator("summary").click()
    until(opened, "byId('plane').querySelector('svg').getBoundingClientRect().right <= 360")
    beyond = """[...document.querySelectorAll("body *")]
        .filter(node => node.getBoundingClientRect().right > innerWidth && !node.closest(".plot, pre, .skip"))
        .map(node => node.outerHTML.slice(0, 100))"""
    assert opened.evaluate(beyond) == []
    assert opened.evaluate("document.documentElement.scrollWidth") == 360


@needs_browser
def test_after_all_that_still_no_error_and_no_request(opened: Page, seen: list[str], address: str) -> None:
    assert opened.locator("html").get_attribute("data-ready")
    assert [each for each in seen if not each.startswith("blob:")] == [address]


def diverged(cells: pd.DataFrame, which: pd.Series) -> pd.DataFrame:
    """The table, as if these cells had diverged."""
    table = cells.copy()
    table.loc[which, metrics.NUMBERS] = np.nan
    return table.assign(diverged=which.astype(int))


@needs_browser
def test_cells_that_diverged_stand_in_the_table_and_cannot_be_chosen(
    browser: Browser, tmp_path: Path
) -> None:
    lost = (CELLS.noise == "isotropic") & (CELLS.latent_dim == 2) & (CELLS.snr == 10)
    (tmp_path / "report.html").write_text(page.html(content(diverged(CELLS, lost))))
    made = browser.new_page()
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.goto((tmp_path / "report.html").as_uri())
    made.wait_for_selector("html[data-cell]", timeout=20_000)
    made.get_by_label("Show SNR-VAE, isotropic noise, d = 3, SNR 10", exact=True).click()
    shows(made, "snr_vae/d3-snr10")
    row = made.locator("tr.diverged")
    assert row.locator("td").all_inner_texts()[:3] == ["2", "10", "diverged"]
    row.click()
    shows(made, "snr_vae/d3-snr10")
    assert made.get_by_label("2", exact=True).is_disabled()
    assert made.get_by_label("1", exact=True).first.is_enabled()
    made.get_by_label("100", exact=True).check()
    shows(made, "snr_vae/d3-snr100")
    made.get_by_label("2", exact=True).check()
    shows(made, "snr_vae/d2-snr100")
    assert made.get_by_label("10", exact=True).is_disabled()
    assert faults == []
    made.close()


# In viewers with a policy of their own

EMPTY = "Clouds or curves stay empty"


def viewed(browser: Browser, text: str, policy: str, scripts: bool = True) -> Page:
    """The page as a server of artifacts sends it, with its policy as a header."""
    made = browser.new_page(java_script_enabled=scripts)
    headers = {"Content-Security-Policy": policy}
    made.route("**/*", lambda route: route.fulfill(body=text, headers=headers, content_type="text/html"))
    made.goto("http://viewer.test/report.html")
    return made


@needs_browser
def test_a_viewer_that_forbids_scripts_from_memory_shows_the_whole_page(
    browser: Browser, text: str, start: str
) -> None:
    made = viewed(browser, text, "script-src 'self' 'unsafe-inline'")
    shows(made, start)
    made.get_by_label("Show SNR-VAE, isotropic noise, d = 2, SNR 10", exact=True).click()
    shows(made, "snr_vae/d2-snr10")
    assert not made.get_by_text(EMPTY).is_visible()


@needs_browser
def test_without_plotly_everything_else_works_and_the_page_says_what_is_missing(
    browser: Browser, text: str, start: str
) -> None:
    head, rest = text.split('<script type="text/plain" id="plotly">')
    broken = f'{head}<script type="text/plain" id="plotly">throw 0{rest[rest.index("</script>") :]}'
    made = viewed(browser, broken, "script-src 'unsafe-inline'")
    made.wait_for_selector(f'html[data-cell="{start}"]')
    made.get_by_text(EMPTY).wait_for()
    made.get_by_label("Show SNR-VAE, isotropic noise, d = 2, SNR 10", exact=True).click()
    made.wait_for_selector('html[data-cell="snr_vae/d2-snr10"]')
    assert made.locator("#chosen").inner_text() == "SNR-VAE, isotropic noise, d = 2, SNR 10"


@needs_browser
@pytest.mark.parametrize(
    ("policy", "scripts"),
    [("script-src 'self'", True), ("sandbox", True), ("style-src 'unsafe-inline'", False)],
)
def test_a_viewer_that_forbids_every_script_has_the_page_say_so(
    browser: Browser, text: str, policy: str, scripts: bool
) -> None:
    made = viewed(browser, text, policy, scripts)
    made.get_by_text(EMPTY).wait_for()
    assert made.locator("tbody tr").count() > 20
