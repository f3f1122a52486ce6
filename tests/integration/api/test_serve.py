"""`serve` and `tokens` as programs, beside a running `up`."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.command_line import CommandLine


@pytest.fixture(scope="module")
def home(recorded: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return recorded.copy(tmp_path_factory.mktemp("served") / "home")


@pytest.fixture(scope="module")
def served(home: CommandLine) -> Iterator[dict[str, str]]:
    """The line that `serve` prints when it is ready."""
    with home.start("serve", "--json") as server, home.start("up", "--markets", "0", "--json") as worker:
        yield server.line
        codes = (server.end(), worker.end())
        assert codes == (0, 0), server.words()
        assert server.errors == "", "nothing was amiss"


@pytest.fixture
def client(served: dict[str, str]) -> Iterator[httpx.Client]:
    token = Path(served["token_file"]).read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=served["api"], headers=headers, timeout=60) as client:
        yield client


def test_it_says_where_it_is_and_where_its_first_token_lies(
    home: CommandLine, served: dict[str, str], client: httpx.Client
) -> None:
    assert served["api"].startswith("http://127.0.0.1:")
    assert Path(served["token_file"]) == home.home / "token"
    assert [bot["bot_id"] for bot in client.get("/api/bots").json()["items"]] == [1, 2]


def test_a_command_can_be_waited_for(client: httpx.Client) -> None:
    for command, status in (("stop", "stopped"), ("start", "running"), ("stop", "stopped")):
        answer = client.post(f"/api/bots/1/{command}", params={"wait": "applied"})
        assert (answer.status_code, answer.json()["applied"]) == (200, True)
        assert client.get("/api/bots/1").json()["status"] == status
    assert client.get("/api/bots/1").json()["who"] == "api:local"


def test_a_command_without_effect_can_be_waited_for_too(client: httpx.Client) -> None:
    client.post("/api/bots/2/stop", params={"wait": "applied"})
    answer = client.post("/api/bots/2/stop", params={"wait": "applied"})
    assert (answer.status_code, answer.json()["applied"]) == (200, True)


def test_what_the_fold_refuses_is_told_to_who_waits(client: httpx.Client) -> None:
    bot = client.get("/api/bots/2").json()
    assert float(bot["position"]) == 0
    client.post("/api/bots/2/signals", params={"wait": "applied"}, json={"target": 0})
    answer = client.post("/api/bots/2/signals", params={"wait": "applied"}, json={"target": 0})
    assert answer.status_code == 409
    assert answer.json()["code"] == "command_refused"
    assert "its target is 0.0 already" in answer.json()["message"]


def test_a_created_bot_is_there_when_it_was_waited_for(client: httpx.Client) -> None:
    spec = {
        "strategy": "sma_cross", "venue": "test", "symbol": "BTC/USDT", "timeframe": "5m", "cash": "10",
        "start": True,
    }  # fmt: skip
    answer = client.post("/api/bots", params={"wait": "applied"}, json=spec)
    assert answer.status_code == 200
    shown = client.get(f"/api/bots/{answer.json()['bot_id']}").json()
    assert (shown["status"], shown["timeframe"], shown["strategy"]) == ("running", "5m", "sma_cross")


def test_a_token_made_beside_a_running_server_counts_at_once_and_so_does_its_end(
    home: CommandLine, served: dict[str, str]
) -> None:
    made = home.line("tokens", "create", "--scope", "read", "--expires", "30d", "--name", "ann")
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert httpx.get(f"{served['api']}/auth/me", headers=headers).json()["name"] == "ann"
    assert httpx.post(f"{served['api']}/api/bots/1/stop", headers=headers).status_code == 403
    rows = home.lines("tokens", "list", "--json")
    assert [(row["name"], row["state"]) for row in rows] == [("local", "valid"), ("ann", "valid")]
    assert made["token"] not in home.out("tokens", "list")
    assert home.line("tokens", "revoke", "ann") == {"revoked": "ann"}
    assert httpx.get(f"{served['api']}/auth/me", headers=headers).status_code == 401
    assert "there is no token 'ann' to revoke" in home.error("tokens", "revoke", "ann")
    assert home.line("tokens", "create", "--scope", "read", "--expires", "30d")["name"] == "read-1"


def test_a_port_that_is_taken_is_refused_with_a_way_out(home: CommandLine, served: dict[str, str]) -> None:
    port = served["api"].rpartition(":")[2]
    refused = home.run("serve", "--port", port)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert json.loads(refused.stderr)["message"].endswith("name another with --host and --port")
