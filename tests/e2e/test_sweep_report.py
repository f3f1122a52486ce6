"""A sweep's report from the file system, with the network off: its map and its lines are there."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from infra.research.backtesting import Asked, data_of
from infra.research.pieces import kept_returns
from infra.research.report import write
from infra.research.sweep_report import drawn, sweep_report
from infra.research.sweeping import begun, run
from infra.strategies.registry import Strategies
from tests.e2e.browser import PHONE
from tests.e2e.test_report import COLOURED, opened
from tests.unit.test_sweeps import frame_of

GRID = {"fast": range(2, 40), "slow": range(40, 120, 4)}


@pytest.fixture(scope="module")
def file(strategies: Strategies, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sweep")
    swept = begun("sma_cross", data_of(frame_of(12_000)), GRID, None, 0, strategies, Asked(short=True))
    run(swept, strategies, 2, None, home=home, ledger=home, resume=False)
    assert swept.folder is not None
    text = sweep_report(swept, "sharpe", kept_returns(swept.folder, drawn(swept, "sharpe")))
    write(text, home / "sweep.html")
    return home / "sweep.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_map_and_lines_are_drawn_without_a_network(file: Path, browser: Browser, scheme: str) -> None:
    page, asked, errors = opened(browser, file, color_scheme=scheme)
    assert (asked, errors) == ([file.as_uri()], [])
    for place in range(5):
        assert page.evaluate(COLOURED, [f"--line-{place}"]) > 20, place
    painted = page.eval_on_selector_all(
        ".heat td[data-set]",
        "cells => new Set(cells.map(cell => getComputedStyle(cell).backgroundColor)).size",
    )
    assert painted > 20
    assert page.locator(".heat .best").count() == 1
    page.context.close()


def test_it_fits_a_phone(file: Path, browser: Browser) -> None:
    page, _, errors = opened(browser, file, viewport=PHONE)
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.context.close()
