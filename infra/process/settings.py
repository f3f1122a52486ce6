"""Settings: where things are kept. Read once a process, at its composition root, and handed down.

Each is an environment variable `TCPD_NAME` or a line `name = …` of a TOML file, which is `TCPD_CONFIG` or
`tcpd.toml` in the home folder; the environment wins. Nothing that a fold depends on is a setting: steps,
fees, parameters and sizing are in the journal, so that a setting can never make honest history fail.
"""

import difflib
import getpass
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from infra.process.spans import seconds

PREFIX = "TCPD_"
CONFIG = "TCPD_CONFIG"
FILE_NAME = "tcpd.toml"
DEFAULT = "default"
HOME = "~/.tcpdashboard"
PARTITIONS_MAX = 4096
_SECRET = re.compile(
    r"([^/@:\s'\"]*):(?!//)[^\s]*(?=@)"  # before the last @, also where the rest is no URL
    r"|((?:password|passwd|secret|token)=)[^&\s]*",
    re.I,
)


class SettingsError(ValueError):
    """A setting that is unknown or cannot be; the message names where it stands and what to do."""


def _text(value: object, _base: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text")
    return value.strip()


def _url(example: str, *schemes: str) -> Callable[[object, Path], str]:
    def parse(value: object, base: Path) -> str:
        text = _text(value, base)
        if urlsplit(text).scheme.partition("+")[0] not in schemes:
            raise ValueError(f"must be {example}")
        try:
            _ = urlsplit(text).port
        except ValueError:
            raise ValueError(
                f"must be {example}, its port a number; in a password @ : / are written as %40 %3A %2F"
            ) from None
        return text

    return parse


_DATABASE_URL = _url("sqlite:///FILE or postgresql+psycopg2://USER@HOST:PORT/NAME", "sqlite", "postgresql")
_REDIS_URL = _url("redis://HOST:PORT/0, rediss://… (TLS) or unix:///SOCKET", "redis", "rediss", "unix")

_WITH_HOST = _url("http://HOST:PORT", "http", "https")


def _proxy_url(value: object, base: Path) -> str:
    """Without a host it would be passed over, and exchanges would see this machine."""
    text = _WITH_HOST(value, base)
    if not urlsplit(text).hostname:
        raise ValueError("must be http://HOST:PORT")
    return text


def _log_url(value: object, base: Path) -> str:
    """It stands in every error of the log, so it holds no password; nothing would ask for one."""
    text = _text(value, base)
    parts = urlsplit(text)
    if parts.scheme not in ("embedded", "kafka") or "@" in parts.netloc or parts.query:
        raise ValueError("must be embedded:///FOLDER or kafka://HOST:PORT[,HOST:PORT][/PREFIX]")
    return text


def _folder(value: object, base: Path) -> Path:
    return (base / Path(_text(value, base)).expanduser()).absolute()


def _files(value: object, base: Path) -> tuple[Path, ...]:
    parts = value.split(os.pathsep) if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise ValueError(f"must be a list of files (in the environment joined by {os.pathsep!r})")
    return tuple(_folder(part, base) for part in parts if part)


def _words(value: object, _base: Path) -> tuple[str, ...]:
    parts = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts):
        raise ValueError("must be a list of texts (in the environment with commas between)")
    return tuple(str(part) for part in parts)


def _whole(low: int, high: int) -> Callable[[object, Path], int]:
    def parse(value: object, _base: Path) -> int:
        message = f"must be a whole number from {low} to {high}"
        if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value).strip()):
            raise ValueError(message)
        if not low <= int(str(value)) <= high:
            raise ValueError(message)
        return int(str(value))

    return parse


def _span(value: object, base: Path) -> int:
    return seconds(_text(value, base))


def account() -> str:
    """The name of the account that this process runs under."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # one without a name, as in some containers
        return f"uid{os.getuid()}"


class Setting(NamedTuple):
    """How the text of a setting is read, relative to which folder, and what it is for."""

    parse: Callable[[object, Path], Any]
    description: str


KNOWN = {
    "home": Setting(_folder, "folder of everything that has no place of its own"),
    "log_url": Setting(_log_url, "the log: embedded:///FOLDER or kafka://HOST:PORT"),
    "database_url": Setting(_DATABASE_URL, "the projections: sqlite:///FILE or postgresql+psycopg2://…"),
    "redis_url": Setting(_REDIS_URL, "redis://HOST:PORT/0; without it nothing is mirrored"),
    "partitions": Setting(
        _whole(1, PARTITIONS_MAX), "partitions of each stream, given at the log's creation"
    ),
    "strategies": Setting(_files, "files with strategies of your own"),
    "kernels": Setting(_folder, "folder of compiled strategy kernels"),
    "worker": Setting(_text, "name of this worker, by default the host's; on Kafka each worker has another"),
    "who": Setting(_text, "who stands in the ledger of trials, by default USER@HOST"),
    "anchor": Setting(_folder, "file to which workers append an anchor, one a day and one at their end"),
    "ahead_s": Setting(
        _whole(0, 86_400), "seconds that a live trade may be ahead of its venue's clock, before it is refused"
    ),
    "gap_wait_s": Setting(
        _whole(0, 3_600), "seconds that live rows of a feed wait for what is missing before them"
    ),
    "backfill_max": Setting(
        _span, "how old trades may be that were missed of a feed and are fetched: 24h; 0 fetches none"
    ),
    "feeds": Setting(_words, "feeds VENUE:SYMBOL that `up` and `collect` collect where no --feed is given"),
    "proxy": Setting(_proxy_url, "proxy of requests and sockets to exchanges: http://HOST:PORT"),
    "sim_seed": Setting(_whole(0, 2**31 - 1), "seed of the simulated exchange"),
}


@dataclass(frozen=True)
class Settings:
    """All settings of a process; `origins` says of each where it was given.

    `partitions` None: as many as the log has, 4 where it is created. `redis_url` None: the bundled server.
    `backfill_max` is in seconds.
    """

    home: Path
    log_url: str
    database_url: str
    kernels: Path
    redis_url: str | None = None
    partitions: int | None = None
    strategies: tuple[Path, ...] = ()
    worker: str = field(default_factory=socket.gethostname)
    who: str = field(default_factory=lambda: f"{account()}@{socket.gethostname()}")
    anchor: Path | None = None
    ahead_s: int = 5
    gap_wait_s: int = 1
    backfill_max: int = 86_400
    feeds: tuple[str, ...] = ()
    proxy: str | None = None
    sim_seed: int = 1
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def faust(self) -> Path:
        """Folder of what the workers of this home keep, such as who runs under which name."""
        return self.home / "faust"

    def in_home(self, home: Path) -> "Settings":
        """The same, with the embedded log and the database of another home folder."""
        return replace(self, **_defaults(home) | {"kernels": self.kernels})


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. Raises `SettingsError`."""
    known = [PREFIX + name.upper() for name in KNOWN]
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in (CONFIG, *known):
            raise SettingsError(f"environment variable {variable} is no setting{_near(variable, known)}")
    values: dict[str, Any] = {}
    origins = dict.fromkeys(KNOWN, DEFAULT)
    home = _folder(environ.get("TCPD_HOME") or HOME, Path.cwd())
    config = environ.get(CONFIG)
    file = Path(config).expanduser() if config else home / FILE_NAME
    if config or file.is_file():
        _read_file(file, values, origins, home_allowed=bool(config))
    for name, variable in zip(KNOWN, known, strict=True):
        if environ.get(variable):
            values[name] = _parsed(name, environ[variable], Path.cwd(), f"environment variable {variable}")
            origins[name] = f"environment {variable}"
    return Settings(**_defaults(values.get("home", home)) | values, origins=origins)


def _defaults(home: Path) -> dict[str, Any]:
    """Defaults that lie in the home folder."""
    return {
        "home": home,
        "log_url": f"embedded://{quote(str(home / 'log'))}",
        "database_url": f"sqlite:///{home / 'projections.db'}",
        "kernels": home / "kernels",
    }


def _read_file(file: Path, values: dict[str, Any], origins: dict[str, str], *, home_allowed: bool) -> None:
    try:
        text = file.read_text(encoding="utf-8")
        lines = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"settings file {file}: {error.strerror}; mend it, or unset {CONFIG}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file}: {error}; a line is: name = value") from None
    for name, value in lines.items():
        where = f"{file}:{_line_of(name, text)}"
        if name not in KNOWN:
            raise SettingsError(f"{where}: {name!r} is no setting{_near(name, list(KNOWN))}")
        if name == "home" and not home_allowed:
            raise SettingsError(f"{where}: home cannot be set in the file that lies in it; set TCPD_HOME")
        values[name] = _parsed(name, value, file.absolute().parent, where)
        origins[name] = f"{where} {name}"


def _parsed(name: str, value: object, base: Path, where: str) -> Any:
    try:
        return KNOWN[name].parse(value, base)
    except ValueError as error:
        raise SettingsError(f"{where}: {name} = {shown(value)!r} {error}") from None


def _line_of(name: str, text: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*\[*[\"']?{re.escape(name)}\b", line):
            return number
    return 1


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; settings are: {', '.join(known)}"


def shown(value: object) -> str:
    """A setting as people see it: passwords in URLs are hidden."""
    if isinstance(value, tuple):
        return os.pathsep.join(str(part) for part in value)
    return _SECRET.sub(lambda m: f"{m[1]}:***" if m[2] is None else f"{m[2]}***", str(value))
