"""A report from the file system, with the network off: its charts are there and its numbers right."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from infra.research.backtesting import backtest
from infra.research.result import Result
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from tests.e2e.browser import PHONE
from tests.research import walked

MINUTES = 20_000
BYTES_MAX = 5_000_000
COLOURED = """([colour]) => {
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(colour).trim();
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    let count = 0;
    for (const canvas of document.querySelectorAll("#chart canvas")) {
        if (!canvas.width || !canvas.height) continue;
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        for (let i = 0; i < data.length; i += 4) {
            count += data[i] === r && data[i + 1] === g && data[i + 2] === b;
        }
    }
    return count;
}"""


@pytest.fixture(scope="module")
def told(strategies: Strategies, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    data = Data(walked(MINUTES), "journal", "Fills at the tick")
    code = strategies.latest("sma_cross")
    run = backtest(code, data, {"fast": 20, "slow": 100}, cash="10000", short=True)
    file = tmp_path_factory.mktemp("report") / "report.html"
    run.report(file)
    return run, file


def opened(browser: Browser, file: Path, **options: object) -> tuple[Page, list[str], list[str]]:
    """The page, what it asked for and what it complained about."""
    page = browser.new_context(offline=True, **options).new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector("#chart[data-drawn] canvas")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page, asked, errors


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_charts_are_drawn_without_a_network(
    told: tuple[Result, Path], browser: Browser, scheme: str
) -> None:
    _, file = told
    page, asked, errors = opened(browser, file, color_scheme=scheme)
    assert (asked, errors) == ([file.as_uri()], [])
    for colour in ("--up", "--down", "--equity", "--hold"):
        assert page.evaluate(COLOURED, [colour]) > 50, colour
    page.context.close()


def test_its_numbers_are_those_of_json(told: tuple[Result, Path], browser: Browser) -> None:
    run, file = told
    page, _, _ = opened(browser, file)
    shown = page.eval_on_selector_all(
        "tr[data-name]",
        "rows => rows.map(row => [row.dataset.name, row.dataset.value, row.cells[1].textContent])",
    )
    told_as_json = run.to_dict()
    assert {name: json.loads(value) for name, value, _ in shown} == told_as_json["metrics"]
    assert [text for _, _, text in shown] == [text for _, text in run.told]
    lines = page.eval_on_selector_all(".lines li", "lines => lines.map(line => line.textContent)")
    assert lines == [line["text"] for line in told_as_json["honesty"]]
    page.context.close()


def test_it_fits_a_phone(told: tuple[Result, Path], browser: Browser) -> None:
    _, file = told
    page, _, errors = opened(browser, file, viewport=PHONE)
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.context.close()


def test_its_size_is_bounded_by_the_screen(told: tuple[Result, Path]) -> None:
    assert told[1].stat().st_size < BYTES_MAX / 5
