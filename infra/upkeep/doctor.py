"""`tcpdashboard doctor`: one check after the other. It looks only: nothing is created, migrated or mended.

Each check (`infra.upkeep.checks`) yields findings, each with one sentence and, where something is wrong, what
to do. A check may take `CHECK_S`; what hangs is reported and left behind.
"""

from collections.abc import Callable, Iterable

from infra.process.addresses import API, addresses
from infra.process.errors import one_line
from infra.process.settings import Settings, SettingsError, load_settings, shown
from infra.upkeep.checks import machine, progress, services
from infra.upkeep.checks.finding import Finding, Findings, State
from streams.background import Background

CHECK_S = 5.0


def examine(default: int, port: int | None = None) -> Findings:
    """Every part, in the order in which one depends on the other.

    `port`: that of the API; None: where one of this home runs, or else `default`.
    """
    yield from _within("python", machine.python)
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding("settings", "failed", str(error), "mend it; the other parts cannot be found without")
        return
    states: dict[str, State] = {}
    checks: list[tuple[str, Callable[[Settings], Findings]]] = [
        ("settings", machine.given), ("home", machine.home), ("tokens", machine.tokens),
        ("log", services.log), ("database", services.database), ("redis", services.redis),
        ("collect", services.collecting),
        ("strategies", machine.strategies), ("kernels", machine.kernels),
    ]  # fmt: skip
    for part, check in checks:
        for finding in _within(part, lambda check=check: check(settings)):
            states[finding.part] = finding.state
            yield finding
    if states["log"] == "ok":
        yield from _within("feeds", lambda: progress.feeds(settings))
    if states["log"] == states["database"] == "ok":  # what hangs or is not there is not asked once more
        yield from _within("positions", lambda: progress.positions(settings))
    ports = [f"http://127.0.0.1:{port}"] if port is not None else addresses(settings.home, API)
    for url in ports or [f"http://127.0.0.1:{default}"]:
        yield from _within("api", lambda url=url: services.api(url))


def _within(part: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a check found in time; secrets in its message are masked."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.extend(check())
        except Exception as error:  # noqa: BLE001 - whatever a part raises is what is to be told of it
            found.append(
                Finding(part, "failed", one_line(error), "`tcpdashboard settings` shows where it is")
            )

    thread = Background(f"doctor-{part}", run)
    thread.start()
    if not thread.join(CHECK_S):
        late = Finding(
            part, "failed", f"no answer within {CHECK_S:.0f} s", "see whether it runs and is reachable"
        )
        found = [*found, late]
    return [f._replace(message=shown(f.message), hint=shown(f.hint)) for f in found]
