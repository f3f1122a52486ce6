"""Tokens: made once, kept hashed in a file for its owner alone, ended by time or by name."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.process.tokens import SESSION_NS, TokenError, TokenFile

DAY_NS = 86_400 * 1_000_000_000


class Clock:
    now = 1_767_225_600_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock) -> TokenFile:
    return TokenFile(tmp_path / "home", clock)


def test_the_first_token_is_made_once_in_a_file_that_others_cannot_read(
    tokens: TokenFile, tmp_path: Path
) -> None:
    file = tokens.first()
    secret = file.read_text().strip()
    assert tokens.first().read_text().strip() == secret
    found = tokens.find(secret)
    assert found is not None
    assert (found.name, found.scope) == ("local", "admin")
    for name in ("token", "tokens.json"):
        assert stat.S_IMODE((tmp_path / "home" / name).stat().st_mode) == 0o600


def test_no_secret_stands_in_the_file_of_tokens(tokens: TokenFile, tmp_path: Path) -> None:
    secret = tokens.create("ann", "trade")
    session = tokens.login(tokens.find(secret))  # type: ignore[arg-type] - it was just made
    kept = (tmp_path / "home" / "tokens.json").read_text()
    assert secret not in kept
    assert session not in kept
    assert tokens.find(kept.split('"sha256":"')[1][:64]) is None


def test_scopes_include_those_below(tokens: TokenFile) -> None:
    found = tokens.find(tokens.create("ann", "trade"))
    assert found is not None
    assert [found.allows("read"), found.allows("trade"), found.allows("admin")] == [True, True, False]


def test_a_free_name_says_the_scope_and_is_not_one_that_a_token_ever_had(tokens: TokenFile) -> None:
    assert tokens.free_name("read") == "read-1"
    tokens.create("read-1", "read")
    tokens.revoke("read-1")
    assert (tokens.free_name("read"), tokens.free_name("trade")) == ("read-2", "trade-1")


def test_a_token_expires(tokens: TokenFile, clock: Clock) -> None:
    secret = tokens.create("ann", "read", "30d")
    clock.now += 30 * DAY_NS - 1
    assert tokens.find(secret) is not None
    clock.now += 1
    assert tokens.find(secret) is None
    assert tokens.listed()[0]["state"] == "expired"


def test_a_revoked_token_and_its_sessions_end_at_once_elsewhere_too(
    tokens: TokenFile, tmp_path: Path, clock: Clock
) -> None:
    elsewhere = TokenFile(tmp_path / "home", clock)
    secret, other = tokens.create("ann", "read"), tokens.create("bob", "read")
    found = elsewhere.find(secret)
    assert found is not None
    session = elsewhere.login(found)
    assert elsewhere.find(session) is not None
    tokens.revoke("ann")
    assert elsewhere.find(secret) is elsewhere.find(session) is None
    assert elsewhere.find(other) is not None
    assert [row["state"] for row in tokens.listed()] == ["revoked", "valid"]


def test_a_name_is_free_again_when_its_token_is_revoked(tokens: TokenFile) -> None:
    tokens.create("ann", "read")
    with pytest.raises(TokenError, match="there is a token 'ann' already"):
        tokens.create("ann", "read")
    tokens.revoke("ann")
    assert tokens.find(tokens.create("ann", "admin")) is not None
    with pytest.raises(TokenError, match="no token 'bob' to revoke; there are: ann"):
        tokens.revoke("bob")


def test_the_first_token_is_made_anew_when_it_was_revoked_or_its_file_is_lost(tokens: TokenFile) -> None:
    old = tokens.first().read_text().strip()
    tokens.revoke("local")
    assert not tokens.plain.exists()
    new = tokens.first().read_text().strip()
    assert tokens.find(old) is None
    assert tokens.find(new) is not None
    tokens.plain.unlink()
    newest = tokens.first().read_text().strip()
    assert tokens.find(new) is None
    assert tokens.find(newest) is not None


@pytest.mark.parametrize("name", ["", "a b", "ann\n", "x" * 65, "é"])
def test_a_name_is_a_word(tokens: TokenFile, name: str) -> None:
    with pytest.raises(TokenError, match="write up to 64 letters"):
        tokens.create(name, "read")


@pytest.mark.parametrize("expires", ["", "30", "0d", "-1d", "30 days", "1e9d", "999999d"])
def test_a_time_to_live_is_days_hours_or_minutes(tokens: TokenFile, expires: str) -> None:
    with pytest.raises(TokenError, match="such as 30d, 12h or 15m"):
        tokens.create("ann", "read", expires)


def test_tokens_made_at_once_are_all_kept(tokens: TokenFile) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda n: tokens.create(f"n{n}", "read"), range(16)))
    assert all(tokens.find(secret) for secret in made)


def test_a_session_ends_with_its_token_by_logout_and_after_its_time(tokens: TokenFile, clock: Clock) -> None:
    short, long = tokens.find(tokens.create("ann", "read", "1d")), tokens.find(tokens.create("bob", "read"))
    assert short is not None
    assert long is not None
    one, two, three = tokens.login(short), tokens.login(long), tokens.login(long)
    ended = tokens.find(three)
    assert ended is not None
    tokens.logout(ended)
    assert tokens.find(three) is None
    clock.now += DAY_NS
    assert tokens.find(one) is None
    assert tokens.find(two) is not None
    clock.now += SESSION_NS
    assert tokens.find(two) is None


def test_a_spoilt_file_says_what_to_do(tokens: TokenFile, tmp_path: Path) -> None:
    tokens.create("ann", "read")
    (tmp_path / "home" / "tokens.json").write_text("[{]")
    with pytest.raises(TokenError, match="remove the file"):
        tokens.find("x")
