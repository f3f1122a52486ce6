"""A sweep's report says what was swept and where the best set stands, and what people wrote is text in it."""

import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from infra.research.backtesting import Asked, data_of
from infra.research.pieces import kept_returns
from infra.research.spike import around
from infra.research.sweep_report import DRAWN, drawn, sweep_report
from infra.research.sweeping import begun, run
from infra.research.swept import Swept
from infra.strategies.registry import Strategies, load_strategies
from tests.programs import KERNELS
from tests.unit.test_spike import filled
from tests.unit.test_sweeps import FAILS, frame_of

GRID = {"fast": range(2, 8), "slow": range(6, 20, 2)}


@pytest.fixture(scope="module")
def kept(strategies: Strategies, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    swept = begun("sma_cross", data_of(frame_of(6_000)), GRID, None, 0, strategies, Asked(short=True))
    home = tmp_path_factory.mktemp("home")
    run(swept, strategies, 1, None, home=home, ledger=home, resume=False)
    return swept


@pytest.fixture(scope="module")
def text(kept: Swept) -> str:
    assert kept.folder is not None
    return sweep_report(kept, "sharpe", kept_returns(kept.folder, drawn(kept, "sharpe")))


def test_it_says_what_was_swept_and_whether_the_best_is_a_spike(kept: Swept, text: str) -> None:
    said = unescape(text)
    assert f"{len(kept.sets)} sets of parameters by Sharpe, the highest first" in said
    assert f"without {kept.invalid} that the strategy refuses." in said and kept.invalid > 0
    assert kept.notes[0] in said
    found = around(kept, "sharpe")
    assert found is not None and found.words in said and "spike" in found.words


def test_every_set_is_a_cell_and_the_best_is_framed(kept: Swept, text: str) -> None:
    cells = re.findall(
        r'<td class="(\w+)( best)?" style="--share: ([\d.]+)" title="([^"]*)" data-set="(\d+)"', text
    )
    assert sorted(int(number) for *_, number in cells) == list(range(len(kept.sets)))
    sharpe = kept.rows.values["sharpe"]
    (best,) = (int(number) for _, framed, _, _, number in cells if framed)
    assert sharpe[best] == sharpe.max()
    for side, _, share, title, number in cells:
        value = sharpe[int(number)]
        assert (side == "loss") == (value < 0) and 0 <= float(share) <= 1
        assert f"{value:.2f}" in title and f"slow={kept.sets[int(number)]['slow']}" in title


def test_the_lines_are_the_equity_of_the_best_sets_at_the_ends_of_days(kept: Swept, text: str) -> None:
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)[0])
    best = drawn(kept, "sharpe")
    assert len(best) == len(data["lines"]) == DRAWN
    assert len(data["times"]) == kept.rows.values["days"][0] == 6
    for number, line in zip(best, data["lines"], strict=True):
        assert line[-1] == pytest.approx(kept.rows.values["final"][number] / 10**8, rel=1e-6)
    assert kept_returns(kept.folder or Path(), [best[0]]).keys() == {best[0]}


def test_what_begins_with_nothing_has_no_equity_any_more(kept: Swept) -> None:
    best = drawn(kept, "sharpe")[:1]
    broke = {best[0]: np.array([0.5, -1.0, np.nan, np.nan, np.nan, np.nan])}
    assert '"lines":[[15000.0,0.0,null,null,null,null]]' in sweep_report(kept, "sharpe", broke)


def test_what_people_wrote_is_text(tmp_path: Path) -> None:
    named = FAILS.replace(
        "at: int = param(3, low=1, high=1000)", 'at: str = param("a", choices=("a", "<i>b"))'
    )
    (tmp_path / "fails.py").write_text(named.replace("bar.volume > p.at", "p.at == 1"))
    strategies = load_strategies(KERNELS, [tmp_path / "fails.py"])
    swept = begun("fails", data_of(frame_of(300)), {"at": ["a", "<i>b"]}, None, 0, strategies, Asked())
    filled(swept, lambda params: 1.0)
    text = sweep_report(swept, "sharpe", {0: np.zeros(1), 1: np.zeros(1)}, ["a & b </script>"])
    assert "<i>" not in text and "&lt;i&gt;b" in text and "a &amp; b &lt;/script&gt;" in text
    assert len(re.findall("</script>", text)) == 3


def test_a_sweep_without_a_number_to_go_by_is_told_too(strategies: Strategies, tmp_path: Path) -> None:
    bars = frame_of(300).assign(open=1.0, high=1.0, low=1.0, close=1.0)
    swept = begun("sma_cross", data_of(bars), {"fast": [3], "slow": [9, 12]}, None, 0, strategies, Asked())
    run(swept, strategies, 1, None, home=None, ledger=tmp_path, resume=False)
    text = sweep_report(swept, "sharpe", {})
    assert "No set has a Sharpe." in text and "Equity of the best sets" in text
