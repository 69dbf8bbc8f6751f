"""Every kind of report, opened from disk in a real browser.

Needs `pip install playwright` and Debian's Chromium (`apt-get install chromium`); another browser
of that family is named by MODICUM_CHROMIUM. Screenshots go to the folder that MODICUM_SCREENSHOTS
names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modicum.report import write_report
from report_runs import ATTACKS, comparison_run, score_run, selection_run, stream_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

RUNS: dict[str, Callable[[Path], Path]] = {
    "select": selection_run,
    "rounds": lambda folder: selection_run(folder, rounds=2),
    "score": score_run,
    "compare": comparison_run,
    "stream": stream_run,
    "attack": lambda folder: selection_run(folder, 200, 40, texts=ATTACKS),
}
PAINTED = """canvas => {
  const { width, height } = canvas, seen = new Set();
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  for (let i = 0; i < data.length; i += 4) if (data[i + 3]) seen.add(data.slice(i, i + 3).join());
  return seen.size;
}"""


class Opened:
    """A page, what it asked of the network, and what it complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: (self.said.append("a dialog"), dialog.dismiss()))

    def open(self, path: Path) -> Page:
        self.page.goto(path.as_uri())
        assert self.asked == [path.as_uri()]
        assert self.said == []
        return self.page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is missing: pip install playwright"
    )
    found = os.environ.get("MODICUM_CHROMIUM") or shutil.which("chromium")
    if not found:
        pytest.skip("no Chromium: apt-get install chromium, or set MODICUM_CHROMIUM to its path")
    with playwright.sync_playwright() as play:
        # As root Chromium starts without its sandbox only; what it opens here is our own page.
        opened = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    return {kind: write_report(make(folder / kind)) for kind, make in RUNS.items()}


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    yield Opened(context.new_page())
    context.close()


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", RUNS)
def test_a_page_opens_in_silence_and_fits_its_window(
    kind: str, theme: Any, width: int, browser: Browser, reports: dict[str, Path]
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    seen = Opened(context.new_page())
    page = seen.open(reports[kind])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 26)" if theme == "dark" else "rgb(252, 251, 248)")
    if folder := os.environ.get("MODICUM_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{kind}-{theme}-{width}.png"), full_page=True)
    assert len(seen.asked) == 1 and seen.said == []
    context.close()


@pytest.mark.parametrize("kind", ["select", "rounds", "attack"])
def test_the_map_is_drawn(kind: str, opened: Opened, reports: dict[str, Path]) -> None:
    canvas = opened.open(reports[kind]).locator("canvas")
    assert canvas.evaluate(PAINTED) > 3


def test_pointing_at_a_pick_says_its_text(opened: Opened, reports: dict[str, Path]) -> None:
    page = opened.open(reports["select"])
    page.locator("canvas").focus()
    page.keyboard.press("n")
    told = page.locator(".told")
    told.get_by_text("chosen as number 1").wait_for()
    assert "Question 55?" in told.inner_text()  # every fifth row was taken, the last first
    page.keyboard.press("n")
    told.get_by_text("chosen as number 2").wait_for()
    assert told.locator("[data-value='50']").count() == 1


def test_arrow_keys_and_the_pointer_find_points(opened: Opened, reports: dict[str, Path]) -> None:
    page = opened.open(reports["select"])
    told = page.locator(".told")
    page.locator("canvas").focus()
    page.keyboard.press("ArrowRight")
    told.get_by_text("row ").first.wait_for()
    page.keyboard.press("Escape")
    told.get_by_text("No point is looked at.").wait_for()
    page.locator("canvas").hover()
    told.get_by_text("tokens").wait_for()


def test_the_search_filters_the_picks(opened: Opened, reports: dict[str, Path]) -> None:
    page = opened.open(reports["select"])
    table = page.locator("[data-block=picks] tbody tr")
    assert table.count() == 12
    page.get_by_label("Search these rows").first.fill("question 55")
    assert table.count() == 1
    assert page.locator("[data-block=picks] [role=status]").inner_text() == "1 of 12 rows"
    page.get_by_label("Search these rows").first.fill("no such words")
    assert table.count() == 0


def test_columns_are_sorted_and_say_so(opened: Opened, reports: dict[str, Path]) -> None:
    page = opened.open(reports["select"])
    head = page.locator("[data-block=picks] thead th").filter(has_text="tokens")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    at = page.locator("[data-block=picks] thead th").all_inner_texts().index(head.inner_text()) + 1
    cells = f"[data-block=picks] tbody tr > :nth-child({at}) span"
    tokens = [
        int(v or 0) for v in page.locator(cells).evaluate_all("a => a.map(e => e.dataset.value)")
    ]
    assert tokens == sorted(tokens) and len(set(tokens)) > 5
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("[data-block=picks] [aria-sort]").count() == 1


def test_a_table_of_the_page_is_sorted_by_whole_digits(
    opened: Opened, reports: dict[str, Path]
) -> None:
    page = opened.open(reports["compare"])
    table = page.locator("#took table")
    table.locator("th button").filter(has_text="training loss").click()
    assert table.locator("[aria-sort]").count() == 1
    table.locator("th button").filter(has_text="method").click()
    first = table.locator("tbody th").all_inner_texts()
    assert first == sorted(first)


def test_long_lists_are_turned_over(opened: Opened, reports: dict[str, Path]) -> None:
    page = opened.open(reports["attack"])
    place = page.locator("[data-block=picks]")
    assert place.locator("tbody tr").count() == 20
    first = place.locator("tbody tr").first.inner_text()
    place.get_by_role("button", name="Next").click()
    assert place.locator("tbody tr").first.inner_text() != first
    assert place.get_by_role("button", name="Next").is_disabled()


def test_the_rounds_slider_moves_the_map(opened: Opened, reports: dict[str, Path]) -> None:
    page = opened.open(reports["rounds"])
    said = page.locator(".slider output")
    assert said.inner_text() == "2: 12 chosen"
    before = page.locator("canvas").evaluate("c => c.toDataURL()")
    page.get_by_label("Chosen until round").focus()
    page.keyboard.press("ArrowLeft")
    assert said.inner_text() == "1: 8 chosen"
    assert page.locator("canvas").evaluate("c => c.toDataURL()") != before


def test_the_theme_button_turns_the_page_and_remembers_nothing(
    opened: Opened, reports: dict[str, Path]
) -> None:
    page = opened.open(reports["select"])
    paper = "getComputedStyle(document.body).backgroundColor"
    light, drawn = page.evaluate(paper), page.locator("canvas").evaluate("c => c.toDataURL()")
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(paper) != light
    assert page.locator("canvas").evaluate("c => c.toDataURL()") != drawn
    page.get_by_role("button", name="Light theme").wait_for()
    page.reload()
    assert page.evaluate(paper) == light
    assert page.evaluate("localStorage.length") == 0


def test_text_that_attacks_the_page_is_shown_and_runs_nothing(
    opened: Opened, reports: dict[str, Path]
) -> None:
    page = opened.open(reports["attack"])
    for _ in range(45):  # every pick is looked at on the map, and so told
        page.locator("canvas").press("n")
    page.wait_for_timeout(200)
    place = page.locator("[data-block=picks]")
    while (more := place.get_by_role("button", name="more")).count():
        more.first.click()
    place.get_by_role("button", name="Next").click()
    for words in ("onerror", "iframe", "script"):
        page.get_by_label("Search these rows").first.fill(words)
        assert place.locator("tbody tr").count() > 0
        assert {"onerror": "<img src=x onerror"}.get(words, f"<{words}") in place.inner_text()
    assert page.evaluate("window.hurt") is None
    assert page.locator("main img, main iframe, main b, main style, main script").count() == 0
    assert opened.said == [] and len(opened.asked) == 1


def test_the_policy_stops_a_script_that_is_not_ours(
    opened: Opened, reports: dict[str, Path]
) -> None:
    page = opened.open(reports["select"])
    page.evaluate(
        "() => { const s = document.createElement('script');"
        "s.textContent = 'window.hurt = 1'; document.body.append(s); }"
    )
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"hurt=2\">')")
    page.wait_for_timeout(100)
    assert page.evaluate("window.hurt") is None
    assert any("Content Security Policy" in each for each in opened.said)


def test_numbers_that_a_script_prints_have_all_their_digits(
    opened: Opened, reports: dict[str, Path]
) -> None:
    page = opened.open(reports["select"])
    data = json.loads(page.locator("#data-picks").text_content() or "")
    at = [column["label"] for column in data["columns"]].index("loss")
    cells = f"[data-block=picks] tbody tr > :nth-child({at + 1}) span"
    shown = page.locator(cells).evaluate_all("a => a.map(e => Number(e.dataset.value))")
    assert shown == [row[at] for row in data["rows"]]


def test_every_focus_stop_can_be_seen_and_named(opened: Opened, reports: dict[str, Path]) -> None:
    page = opened.open(reports["select"])
    for _ in range(25):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            "() => { const e = document.activeElement, s = getComputedStyle(e);"
            "const name = e.getAttribute('aria-label') || e.textContent || e.labels?.length;"
            "return [s.outlineStyle, name]; }"
        )
        assert seen[0] == "solid" and seen[1]


def test_a_pick_is_shown_on_the_map(opened: Opened, reports: dict[str, Path]) -> None:
    page = opened.open(reports["select"])
    page.get_by_role("button", name="row 40: show on the map").click()
    page.locator(".told").get_by_text("Question 40?").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"


def test_of_a_large_pool_a_point_is_the_row_it_says(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modicum.report.points._POINTS", 40)
    monkeypatch.setattr("modicum.report.listed.MOST_OTHERS", 5)
    monkeypatch.setattr("modicum.report.selection.MOST_OTHERS", 5)
    page = opened.open(write_report(selection_run(tmp_path / "run")))
    page.locator("canvas").focus()
    page.keyboard.press("n")
    page.locator(".told").get_by_text("Question 55?").wait_for()
    page.keyboard.press("n")
    page.locator(".told").get_by_text("Question 50?").wait_for()
    others = page.locator("#others tbody tr")
    assert others.count() == 5
    row = others.first.locator("button.go [data-value]").get_attribute("data-value")
    others.first.locator("button.go").click()
    page.locator(".told").get_by_text(f"Question {row}?").wait_for()
