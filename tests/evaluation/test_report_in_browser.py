"""The report in a real browser, Debian's Chromium: nothing is loaded, every plot is seen, at any width and in any light."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from evaluation.report.page import render
from evaluation.report.plots import PALETTE
from tests.evaluation.metrics_samples import PLOTS, TASKS, sample

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt-get install chromium")

OUTSIDE = """() => [...document.querySelectorAll("body *")].filter(element => {
    const box = element.getBoundingClientRect();
    return !element.closest(".scroll") && box.width && (box.left < 0 || box.right > innerWidth);
}).map(element => element.outerHTML.slice(0, 120))"""

TEXT_SIZES = """() => [...document.querySelectorAll("svg text")].map(text =>
    parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's sandbox does not run as root, as CI does.
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which whatever it says on the console, or asks of the network beyond itself, fails the test."""
    page = browser.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    assert said == []
    assert len(asked) == 1 and asked[0].startswith("file:///")
    page.close()


def opened(page: Page, task: str, folder: Path) -> Page:
    file = folder / "report.html"
    file.write_text(render(sample(task)), encoding="utf-8")
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("task", TASKS)
def test_the_page_fits_and_each_plot_is_seen(page: Page, tmp_path: Path, task: str, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    opened(page, task, tmp_path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    plots = page.locator("svg[data-plot]")
    assert [plot.get_attribute("data-plot") for plot in plots.all()] == PLOTS[task]
    for plot in plots.all():
        expect(plot).to_be_visible()
        box = plot.bounding_box()
        assert box is not None
        assert box["width"] >= 300 and box["height"] >= 120
    assert min(page.evaluate(TEXT_SIZES)) >= 9
    assert page.title().endswith(f"{task} evaluation")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_have_the_colors_of_the_page(page: Page, tmp_path: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    opened(page, "fill-mask", tmp_path)
    colors = {name: _rgb(pair[scheme == "dark"]) for name, pair in PALETTE.items()}
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colors["paper"]
    found = page.evaluate("""() => [...document.querySelectorAll("svg *")].flatMap(element =>
        ["fill", "stroke"].map(part => getComputedStyle(element)[part]))""")
    assert colors["accent"] in found and colors["ink"] in found
    black = _rgb("#000000")  # what a shape is filled with where its style says nothing
    assert set(found) - {black, "none"} <= set(colors.values())


def test_a_printed_page_is_dark_on_light(page: Page, tmp_path: Path) -> None:
    page.emulate_media(color_scheme="dark", media="print")
    opened(page, "question-answering", tmp_path)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == _rgb(PALETTE["paper"][0])


def test_a_screen_reader_gets_the_plots_and_the_parts_of_the_page(page: Page, tmp_path: Path) -> None:
    opened(page, "fill-mask", tmp_path)
    expect(
        page.get_by_role("img", name=re.compile(r"^Reliability diagram\. 6\.0 % sure on average, 4\.0"))
    ).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("bert-base-cased")
    titles = page.get_by_role("heading", level=2).all_inner_texts()
    assert titles == [
        "Behind the averages",
        "Results for kinds of rows",
        "Examples",
        "Every figure",
        "What could not be computed",
        "What was evaluated",
    ]
    expect(page.get_by_role("region", name="Every figure").get_by_role("rowheader")).to_have_count(10)


def test_a_wide_table_scrolls_in_its_own_box(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 900})
    opened(page, "fill-mask", tmp_path)
    box = page.get_by_role("region", name="Every figure")
    assert box.evaluate("box => box.scrollWidth > box.clientWidth && box.clientWidth <= 360")
    box.focus()
    expect(box).to_be_focused()  # so that its reader can scroll it with the keyboard
    assert box.evaluate("box => { box.scrollLeft = 9999; return box.scrollLeft }") > 0


def test_a_long_text_is_opened_by_its_reader(page: Page, tmp_path: Path) -> None:
    opened(page, "question-answering", tmp_path)
    whole = page.locator("details > p").first
    expect(whole).to_be_hidden()
    page.locator("summary").first.click()
    expect(whole).to_be_visible()
    expect(page.locator("summary p").first).to_be_hidden()


def _rgb(color: str) -> str:
    return "rgb({}, {}, {})".format(*(int(color[at : at + 2], 16) for at in (1, 3, 5)))
