"""Checks of this machine: interpreter, settings, folders and what lies in them."""

import platform
import shutil
import stat
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from infra.exchange.venues.known import UnknownVenueError, by_venue
from infra.process.settings import DEFAULT, KNOWN, Settings
from infra.strategies.registry import load_strategies
from infra.upkeep.checks.finding import Finding, Findings, State
from streams.files import existing, size_text, unwritable

DISTRIBUTION = "tcpdashboard"
FREE_FAILED, FREE_WARNING = 100 << 20, 1 << 30


def python() -> Findings:
    """The interpreter and the packages, against what the installed distribution asks for."""
    about = metadata.metadata(DISTRIBUTION)
    running, wanted = platform.python_version(), about["Requires-Python"] or ""
    if running not in SpecifierSet(wanted):
        message = f"Python {running} runs, {wanted} is needed"
        yield Finding("python", "failed", message, "make the environment anew with a newer Python")
        return
    wrong: list[str] = []
    for text in metadata.requires(DISTRIBUTION) or ():
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(version, prereleases=True):
            wrong.append(f"{need.name} is {version}, {need.specifier} is needed")
    if wrong:
        yield Finding("packages", "failed", "; ".join(wrong), "install requirements.lock again")
    else:
        yield Finding(
            "python", "ok", f"Python {running}, {DISTRIBUTION} {about['Version']}, packages as needed"
        )


def given(settings: Settings) -> Findings:
    """Every setting that is not the default, with its origin, and whether there are such feeds."""
    named = [
        f"{name} = {getattr(settings, name)} ({settings.origins[name]})"
        for name in KNOWN
        if settings.origins[name] != DEFAULT
    ]
    yield Finding("settings", "ok", "; ".join(named) or "all are the defaults")
    try:
        by_venue(settings.feeds)
    except UnknownVenueError as error:
        yield Finding(
            "feeds", "failed", str(error), f"mend the setting `feeds` ({settings.origins['feeds']})"
        )


def home(settings: Settings) -> Findings:
    """Whether the home folder can be written, and has room."""
    problem = unwritable(settings.home)
    if problem:
        yield Finding("home", "failed", problem, "mend its owner or mode, or name another with TCPD_HOME")
        return
    free = shutil.disk_usage(existing(settings.home)).free
    state: State = "failed" if free < FREE_FAILED else "warning" if free < FREE_WARNING else "ok"
    there = "can be written" if settings.home.exists() else "is not there yet and can be made"
    hint = "" if state == "ok" else "free space: a log on a full disk takes nothing more"
    yield Finding("home", state, f"{settings.home} {there}; {size_text(free)} free", hint)


def tokens(settings: Settings) -> Findings:
    """Whether anybody but their owner can read the tokens."""
    files = [file for name in ("token", "tokens.json") if (file := settings.home / name).exists()]
    for file in files:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            hint = f"chmod 600 {file}; then revoke its tokens and make new ones, since others may have them"
            yield Finding("tokens", "failed", f"{file} can be read by others (mode {mode:04o})", hint)
            return
    yield Finding("tokens", "ok", "only their owner can read them" if files else "none was made yet")


def kernels(settings: Settings) -> Findings:
    """Whether compiled strategies can be kept."""
    problem = unwritable(settings.kernels)
    if problem:
        yield Finding("kernels", "failed", problem, "mend its owner or mode, or set another folder `kernels`")
    else:
        yield Finding("kernels", "ok", f"{settings.kernels} can be written")


def strategies(settings: Settings) -> Findings:
    """Strategy files that do not load. They are executed, as at every start."""
    with TemporaryDirectory(prefix="tcpd-doctor-") as folder:
        known = load_strategies(Path(folder), settings.strategies)
        names = [code.name for code in known]
    for error in known.broken:
        yield Finding("strategies", "failed", str(error), "mend the file, or take it out of the settings")
    if not known.broken:
        yield Finding("strategies", "ok", f"{len(names)} load: {', '.join(names)}")
