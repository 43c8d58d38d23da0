"""Figures, report and page of every kind of source: each is drawn, and nothing untrue is said of it."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kinds
import numpy as np
import pandas as pd
import pytest
from kinds import LABELLED, NAMES, Run
from markupsafe import escape
from matplotlib.figure import Figure
from playwright.sync_api import sync_playwright
from test_page import CHROMIUM, LARGEST, SANDBOX, needs_browser

from snrvae.reporting import drawing, gains, page, report
from snrvae.reporting.figures import clouds, curves, pages, style
from snrvae.reporting.figures.report import draw
from snrvae.sources.registry import SETS, SOURCES

CLOSER = gains.from_csv((kinds.ROOT / "tests" / "closer.csv").read_bytes())
VERSIONS = dict.fromkeys(report.SHOWN_VERSIONS, "1.0")
LOSSES = pd.DataFrame(
    [(cell.noise, cell.latent_dim, cell.snr, 0, step, 0.1) for cell in kinds.CELLS for step in (1, 2)],
    columns=["noise", "latent_dim", "snr", "repeat", "step", "mse"],
)
FIGURES = [
    *("rate_distortion.svg", "data.png", "autoencoder_latents.svg", "grid.svg", "controlled_latents.svg"),
    *("clouds.png", "generated.png", "requested.png", "codes.png", "learned_noise.svg", "training.svg"),
]
CASES = [*((name, False) for name in NAMES), *((name, True) for name in LABELLED)]
QUICK = (("cube", False), ("line.npy", False), ("digits", True))
SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in CASES if case not in QUICK]
EVERY_CASE = pytest.mark.parametrize("case", [*QUICK, *SLOW], ids=str)
EVERY_NAME = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style.style():
        yield


class Runs(dict[tuple[str, bool], Run]):
    """Runs of cases, each made when it is first asked for."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def __missing__(self, case: tuple[str, bool]) -> Run:
        self[case] = kinds.run(*case, self.folder)
        return self[case]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("raw"))


def figures(run: Run) -> dict[str, Figure]:
    return draw(run.cells, run.lines, run.samples, LOSSES, run.splits, run.source, run.conditional)


def markdown(run: Run) -> str:
    counts = {name: len(split.points) for name, split in run.splits.items()}
    provenance = VERSIONS, {}, "Haswell"
    names = [name for name in FIGURES if name != ("codes.png" if run.conditional else "requested.png")]
    return report.markdown(
        run.settings, run.source, run.cells, run.tree, *provenance, names, counts, run.lines, CLOSER, ""
    )


def content(run: Run) -> dict[str, Any]:
    test = run.splits["test"]
    return page.content(run.settings, run.cells, run.tree, run.lines, run.samples, test, run.source, {})


def texts(figure: Figure) -> str:
    found = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return "\n".join(found + [axes.get_title() for axes in figure.axes])


@EVERY_CASE
def test_every_figure_is_drawn(case: tuple[str, bool], runs: dict[tuple[str, bool], Run]) -> None:
    drawn = figures(runs[case])
    assert set(FIGURES) - set(drawn) == {"codes.png" if case[1] else "requested.png"}
    for name in ("data.png", "clouds.png", "generated.png", "requested.png", "codes.png"):
        if name in drawn:
            image = report.image(drawn[name], ".png")
            assert image.startswith(b"\x89PNG"), name
            assert len(image) < 300_000, name
    if case[0] != "cube":
        written = "\n".join(map(texts, drawn.values())).replace(runs[case].source.title, "")
        assert not re.search("cube|face", written)


@EVERY_CASE
def test_the_report_says_what_is_true_of_its_source(
    case: tuple[str, bool], runs: dict[tuple[str, bool], Run]
) -> None:
    run = runs[case]
    text, source, (name, _) = markdown(run), run.source, case
    heading, *_ = text.splitlines()
    assert (
        re.sub(r"\\(.)", r"\1", heading)
        == f"# How much of {drawing.called(source)[0]} survives a noisy bottleneck?"
    )
    assert not re.search(r"\{\{|\{%|\bnan\b|\bNone\b", text)
    prose = text.split("## Appendix: provenance")[0]
    assert bool(re.search("face", prose.replace("surface", ""))) is (name == "cube")
    assert ("cube" in prose) is (name in ("cube", "gaussian"))
    assert ("[edge²]" in text, "[unit²]" in text) == (source.unit == "edge", source.unit == "unit")
    assert ("\n| d | SNR | distance" in text) is (source.distance is not None)
    assert (" p |" in text) is source.exact
    assert ("to the nearest" in text) is source.domain.finite
    assert ("principal components" in prose) is (source.coordinates > 3 and name != "digits")
    assert ("image" in prose.replace("![", "")) is drawing.images(source)
    assert f"limit is {source.part}" not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SOURCES if name != "cube"])
def test_report_and_page_of_a_built_in_source_are_about_it(
    name: str, runs: dict[tuple[str, bool], Run]
) -> None:
    run, title = runs[name, False], SOURCES[name].title
    text = markdown(run)
    assert text.startswith(f"# How much of a {run.source.noun} survives a noisy bottleneck?")
    assert f"turns a point drawn from {title} into d numbers" in " ".join(text.split())
    for right in ("data/cube.npz", "squared edge lengths of the cube", title):
        text = text.replace(right, "")
    assert "cube" not in text
    assert "face" not in text.replace("surface", "")
    assert ("surface" in text) is (run.source.dimension == 2)
    html = page.html(content(run))
    head, tail = html[: html.index("<script")], html[html.index("</footer>") :]
    assert f"Take a point drawn from {escape(title)}." in head
    shown = (head + tail[: tail.index("<script")]).replace(str(escape(title)), "")
    assert "cube" not in shown
    assert ("surface" in shown) is (run.source.distance is not None)  # a name of a column


@EVERY_CASE
def test_every_definition_and_table_of_the_report_is_whole(
    case: tuple[str, bool], runs: dict[tuple[str, bool], Run]
) -> None:
    for table in re.findall(r"(?:^\|.*\|\n)+", markdown(runs[case]), flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


@EVERY_CASE
def test_the_page_shows_every_point_or_image_of_its_source(
    case: tuple[str, bool], runs: dict[tuple[str, bool], Run]
) -> None:
    run = runs[case]
    shown, source = content(run), run.source
    cloud, labels = shown["original"], [label["name"] for label in shown["labels"]]
    count = len(base64.b64decode(cloud["label"]))
    assert labels == list(source.labels)
    assert float((cloud["outside"] or "0%").rstrip("%")) < 2
    if drawing.images(source):
        levels = np.frombuffer(base64.b64decode(cloud["points"]), np.uint8)
        whole = pages.grey(run.splits["test"].points[:count], source)
        assert levels.reshape(whole.shape) / 255 == pytest.approx(whole, abs=1 / 500)
    else:
        steps = np.frombuffer(base64.b64decode(cloud["points"]), "<u2").reshape(3, -1)
        low, high = np.array(shown["frame"]).T[:, :, None]
        places = (low + steps * (high - low) / 65535).T[:, : len(shown["view"])]
        expected = drawing.of(source).place(run.splits["test"].points)
        distances = np.abs(expected[None, :600] - places[:, None]).max(2).min(1)
        assert distances.max() < 1e-4 * np.ptp(shown["view"])
    text = page.html(shown)
    assert len(text.encode()) < LARGEST
    assert drawing.called(source)[0] in text.replace("&lt;", "<") or "$" in case[0]


@EVERY_NAME
def test_points_fill_their_picture_in_the_sources_own_unit(
    name: str, runs: dict[tuple[str, bool], Run]
) -> None:
    run = runs[name, False]
    shown, points = drawing.of(run.source), run.splits["train"].points
    places = shown.place(points)
    low, high = np.array(shown.view).T
    inside = ((places >= low) & (places <= high)).all(1)
    assert inside.mean() > 0.98
    filled = np.ptp(places[inside], axis=0) / shown.widths
    assert filled.max() > 0.5
    flat = run.source.coordinates - run.source.components  # coordinates that never vary
    assert np.sort(filled)[flat:].min() > 0.03
    own = run.source.domain.frame.restore(points)
    if 1 < run.source.coordinates <= 3:
        order = ["xyz".index(axis) for axis in shown.names]
        assert places == pytest.approx(own[:, order])
    if run.source.coordinates > 3:
        apart = np.linalg.norm(places - places[0], axis=1)
        assert (apart <= np.linalg.norm(own - own[0], axis=1) * (1 + 1e-5)).all()
        assert places.var(0).sum() == pytest.approx(
            sum(run.source.variances[:3]) * run.source.domain.factor**2, rel=1e-3
        )


def test_an_obj_file_is_shown_with_y_upwards(runs: dict[tuple[str, bool], Run]) -> None:
    assert drawing.of(runs["spike.obj", False].source).names == ("z", "x", "y")
    assert drawing.of(runs["space.npy", False].source).names == ("x", "y", "z")


def test_points_of_one_coordinate_lie_on_a_heap_as_high_as_they_are_dense(
    runs: dict[tuple[str, bool], Run],
) -> None:
    run = runs["line.npy", False]
    places = drawing.of(run.source).place(run.splits["test"].points)
    ((low, high), (_, top)) = drawing.of(run.source).view
    column = np.floor((places[:, 0] - low) / (high - low) * drawing.BINS)
    found = [(np.sum(column == each), places[column == each, 1].max()) for each in np.unique(column)]
    count, height = np.array(found).T
    assert height / height.max() == pytest.approx((count - 1) / (count.max() - 1))
    assert height.max() < top
    assert np.unique(places, axis=0).shape == places.shape


@pytest.mark.parametrize("count", [1, 8, 10, 12, 13, 255])
def test_every_label_has_a_colour_of_its_own(count: int) -> None:
    colours = style.label_colours(count)
    assert len(set(colours)) == len(colours) == count
    assert colours[: len(style.LABELS)] == list(style.LABELS[:count]) or count > len(style.LABELS)


@pytest.mark.parametrize(("name", "shown"), [("many.npz", 13), ("digits", 0), ("cube", 6), ("circle", 4)])
def test_a_legend_names_the_first_twelve_labels(
    name: str, shown: int, runs: dict[tuple[str, bool], Run]
) -> None:
    run = runs[name, False]
    names = [text.get_text() for legend in clouds.data(run.splits["train"], run.source).legends
             for text in legend.get_texts()]  # fmt: skip
    assert len(names) == shown
    assert names[:12] == list(run.source.labels[: len(names)][:12])
    assert len(names) < 13 or names[-1] == "… 255 in all"


def test_names_of_a_file_and_its_labels_are_shown_as_they_are(runs: dict[tuple[str, bool], Run]) -> None:
    run = runs["a_b $1$ [*].csv", True]
    figure = clouds.data(run.splits["train"], run.source)
    report.png(figure)
    assert "\\$x\\$" in texts(figure), "else a formula"
    assert r"# How much of a\_b $1$ \[\*\].csv survives" in markdown(run)


def test_a_row_of_asked_for_images_has_the_label_at_its_left(runs: dict[tuple[str, bool], Run]) -> None:
    drawn = figures(runs["digits", True])["requested.png"]
    assert [axes.get_title() for axes in drawn.axes] == ["d = 1", "d = 2", "d = 3"]
    assert [text.get_text() for text in drawn.axes[0].texts] == list("0123456789")


def test_images_stand_side_by_side_a_pixel_apart() -> None:
    images = np.arange(3 * 2 * 2, dtype=float).reshape(3, 2, 2)
    assert np.nan_to_num(pages.mosaic(images, 2), nan=-1).tolist() == [
        [0, 1, -1, 4, 5],
        [2, 3, -1, 6, 7],
        [-1, -1, -1, -1, -1],
        [8, 9, -1, -1, -1],
        [10, 11, -1, -1, -1],
    ]


# The limit, as far as it is known


def test_a_limit_is_drawn_as_sure_as_it_is_and_not_beyond_what_the_points_carry(
    runs: dict[tuple[str, bool], Run],
) -> None:
    run = runs["plane.npy", False]
    assert [*run.lines.limit] == ["certified", "99 %", "estimate"]
    ends = [(bits[0], bits[-1]) for bits, _ in run.lines.limit.values()]
    assert ends[0][0] == 0
    assert ends[2][1] == pytest.approx(4, abs=0.03)
    spread = sum(run.source.variances) * run.source.domain.factor**2
    for certainty, (bits, mse) in run.lines.limit.items():
        true = spread / 2 * 2.0**-bits
        below = true * (1 - 0.2 * (certainty == "99 %"))
        assert (mse <= true * 1.0001).all()
        assert (mse > 0.8 * below).all()
    axes = curves.rate_distortion(run.cells, run.lines).axes[0]
    assert {line.get_linestyle() for line in axes.lines if line.get_linewidth() == 2.2} == {"-", "--", ":"}
    assert "no code can be here" in {text.get_text() for text in axes.texts}


def test_the_limit_of_a_normal_distribution_is_drawn_in_the_sources_unit(
    runs: dict[tuple[str, bool], Run],
) -> None:
    bits, mse = runs["plane.npy", False].lines.normal
    variance = runs["plane.npy", False].splits["train"].points.var(0, dtype=float)
    factor = runs["plane.npy", False].source.domain.factor
    assert mse[0] == pytest.approx(variance.mean() * factor**2, rel=1e-6)
    assert (np.diff(mse) < 0).all()
    assert bits[-1] > 9


@pytest.mark.parametrize("name", ["five.csv", "digits"])
def test_where_points_are_too_few_figures_report_and_page_say_so(name: str, tmp_path: Path) -> None:
    run = kinds.run(name, False, tmp_path, saturated=True)
    assert run.lines.limit == {}
    axes = curves.rate_distortion(run.cells, run.lines).axes[0]
    assert "no code can be here" not in {text.get_text() for text in axes.texts}
    grid = curves.grid(run.cells)
    report.svg(grid)
    assert "too few points for a limit" in {text.get_text() for text in grid.axes[1].texts}
    text = markdown(run)
    assert "the training points are too few to tell" in text
    assert text.count("training points are too few for the rate") == 1
    assert "The widest gap" not in text
    assert "dB**" not in text
    html = page.html(content(run))
    assert "too few to say what the limit is" in html
    assert "above Shannon's limit" not in html


# In a browser


@needs_browser
def test_every_page_draws_its_source(runs: dict[tuple[str, bool], Run], tmp_path: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SANDBOX)
        for case in CASES:
            faults: list[str] = []
            opened = browser.new_page()
            opened.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
            (tmp_path / "report.html").write_text(page.html(content(runs[case])))
            opened.goto((tmp_path / "report.html").as_uri())
            opened.wait_for_selector("html[data-ready]", timeout=20_000)
            inks = opened.evaluate(
                """CLOUDS.map(kind => {
                    const { width, height } = byId(kind);
                    const data = byId(kind).getContext("2d").getImageData(0, 0, width, height).data;
                    return data.filter((value, place) => place % 4 === 3 && value).length / width / height;
                })"""
            )
            assert min(inks) > 0.01, case
            assert opened.locator("#turn").count() == (not drawing.flat(runs[case].source)), case
            assert faults == [], case
            opened.close()
        browser.close()


def test_the_kinds_are_all_there(runs: dict[tuple[str, bool], Run]) -> None:
    sources = [runs[name, False].source for name in NAMES]
    assert {min(source.coordinates, 4) for source in sources} == {1, 2, 3, 4}
    assert {*SETS, *SOURCES} - {*NAMES} == {"terrain"}
