"""Tokens of the API: made, listed and revoked in a file of the home folder that only its owner can read.

A token is 256 random bits, so its SHA-256 can be kept in its place: there is nothing that a slow hash would
protect. The file is read anew when it has changed, so that a revocation counts at once in a running server.
Beside it lies `token`, the plain first token, for whoever works on this machine.

Why: ADR 12.
"""

import fcntl
import hmac
import os
import re
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Literal, get_args

import msgspec

from infra.present.values import iso

Scope = Literal["read", "trade", "admin"]
"""Each allows what those before it do."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
FIRST = "local"
PREFIX = "tcpd_"
SESSION_NS = 30 * 86_400 * 1_000_000_000
SESSIONS_MAX = 1_000
"""Logins that are remembered, the newest: a file that only grows would slow every request."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_EXPIRES = re.compile(r"([1-9]\d{0,4})([dhm])")
_UNITS_NS = {"d": 86_400 * 1_000_000_000, "h": 3_600 * 1_000_000_000, "m": 60 * 1_000_000_000}


class TokenError(ValueError):
    """A token that cannot be made or revoked; the message says what to do."""


class Token(msgspec.Struct, frozen=True):
    """A token as it is kept. Times in ns; `expires` None: never. `session`: a browser's login with it."""

    name: str
    scope: Scope
    sha256: str
    created: int
    expires: int | None = None
    revoked: int | None = None
    session: bool = False

    def allows(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def valid(self, now: int) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)

    def shown(self, now: int) -> dict[str, str | None]:
        """What people may know of it."""
        expired = self.expires is not None and now >= self.expires
        return {
            "name": self.name,
            "scope": self.scope,
            "created": iso(self.created),
            "expires": None if self.expires is None else iso(self.expires),
            "state": "revoked" if self.revoked is not None else "expired" if expired else "valid",
        }


class TokenFile:
    """The tokens of a home folder. Safe to use from several threads and processes."""

    def __init__(self, home: Path, now: Callable[[], int] = time.time_ns) -> None:
        self.plain = home / "token"
        """Where the first token stands."""
        self._file = home / "tokens.json"
        self._lock = home / "tokens.lock"
        self._now = now
        self._read: tuple[tuple[int, int, int] | None, tuple[Token, ...]] = (None, ())

    def find(self, secret: str) -> Token | None:
        """The valid token or session that this is. Every one is compared, in constant time."""
        digest = _digest(secret)
        found: Token | None = None
        for token in self._tokens():
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found if found is not None and found.valid(self._now()) else None

    def is_valid(self, token: Token) -> bool:
        """Whether a token that was found is neither revoked nor expired, nor its session ended, since."""
        now = self._now()
        return any(one.sha256 == token.sha256 and one.valid(now) for one in self._tokens())

    def listed(self) -> list[dict[str, str | None]]:
        """Every token that was ever made, oldest first, without sessions and secrets."""
        return [token.shown(self._now()) for token in self._tokens() if not token.session]

    def first(self) -> Path:
        """Make the first token, of scope admin, unless its file is there; returns the file."""
        with self._changing() as tokens:
            if not self.plain.is_file():
                secret = _made(tokens, FIRST, "admin", None, self._now(), again=True)
                _write(self.plain, f"{secret}\n".encode())
        return self.plain

    def create(self, name: str, scope: Scope, expires: str | None = None) -> str:
        """A new token; `expires` such as 30d, 12h or 15m. Its secret is told here and never again.

        Raises `TokenError`.
        """
        if not _NAME.fullmatch(name):
            raise TokenError(f"token name {name!r}: write up to 64 letters, digits and any of _ . @ -")
        with self._changing() as tokens:
            return _made(tokens, name, scope, expires, self._now())

    def free_name(self, scope: Scope) -> str:
        """The first of read-1, read-2, … (after the scope) that no token ever had.

        A name is not given again, since it stands in the journal beside the commands of whoever had it.
        """
        used = {token.name for token in self._tokens()}
        return next(name for n in count(1) if (name := f"{scope}-{n}") not in used)

    def login(self, token: Token) -> str:
        """The secret of a new session with this token, which ends with it."""
        now = self._now()
        secret = secrets.token_urlsafe(32)
        ends = now + SESSION_NS if token.expires is None else min(token.expires, now + SESSION_NS)
        with self._changing() as tokens:
            sessions = [t for t in tokens if t.session]
            gone = {t.sha256 for t in sessions if not t.valid(now)}
            gone |= {t.sha256 for t in sessions[: len(sessions) + 1 - SESSIONS_MAX]}
            tokens[:] = [t for t in tokens if t.sha256 not in gone]
            tokens.append(Token(token.name, token.scope, _digest(secret), now, ends, session=True))
        return secret

    def logout(self, session: Token) -> None:
        with self._changing() as tokens:
            tokens[:] = [t for t in tokens if t.sha256 != session.sha256]

    def revoke(self, name: str) -> None:
        """End a token and every session with it. Raises `TokenError` where there is none to end."""
        now = self._now()
        with self._changing() as tokens:
            if not any(t.name == name and t.revoked is None and not t.session for t in tokens):
                known = ", ".join(t.name for t in tokens if t.revoked is None and not t.session) or "none"
                raise TokenError(f"there is no token {name!r} to revoke; there are: {known}")
            kept = (t for t in tokens if not (t.session and t.name == name))
            tokens[:] = [
                msgspec.structs.replace(t, revoked=now) if t.name == name and t.revoked is None else t
                for t in kept
            ]
            if name == FIRST:
                self.plain.unlink(missing_ok=True)

    def _tokens(self) -> tuple[Token, ...]:
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            return ()
        state = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._read[0] != state:
            self._read = (state, _decoded(self._file))
        return self._read[1]

    @contextmanager
    def _changing(self) -> Generator[list[Token]]:
        """The tokens, to be changed in place; written when the block ends without an error."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            known = self._tokens()
            tokens = list(known)
            yield tokens
            if tuple(tokens) != known:
                _write(self._file, msgspec.json.encode(tokens))
        finally:
            os.close(handle)


def _made(
    tokens: list[Token], name: str, scope: Scope, expires: str | None, now: int, *, again: bool = False
) -> str:
    taken = any(t.name == name and t.valid(now) and not t.session for t in tokens)
    if taken and not again:
        raise TokenError(f"there is a token {name!r} already; revoke it first, or choose another name")
    if again:  # the file of the first token is lost: nobody has it any more
        tokens[:] = [t for t in tokens if t.name != name or t.revoked is not None]
    secret = PREFIX + secrets.token_urlsafe(32)
    ends = None if expires is None else now + _length_ns(expires)
    tokens.append(Token(name, scope, _digest(secret), now, ends))
    return secret


def _length_ns(text: str) -> int:
    found = _EXPIRES.fullmatch(text)
    if found is None:
        raise TokenError(f"expires {text!r}: write days, hours or minutes, such as 30d, 12h or 15m")
    return int(found[1]) * _UNITS_NS[found[2]]


def _digest(secret: str) -> str:
    return sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _decoded(file: Path) -> tuple[Token, ...]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=tuple[Token, ...])
    except msgspec.DecodeError as error:
        raise TokenError(f"{file}: {error}; remove the file, all tokens are then to be made anew") from None


def _write(file: Path, content: bytes) -> None:
    """Replace a file by one that nobody but its owner may read at any moment, durable when this returns."""
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
    handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
