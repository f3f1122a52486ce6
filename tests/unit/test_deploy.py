"""What `infra/deploy` names is there: commands, metrics, files; and it opens nothing that it must not."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram
from typer.main import get_command

import infra
from api.cli import app
from infra.exchange.gauges import gauges
from infra.process import telemetry
from infra.process.settings import KNOWN, load_settings
from infra.worker.root import _Worker

DEPLOY = Path(infra.__path__[0]) / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/tcpdashboard.json").read_text())
PROGRAM = get_command(app)


def samples() -> set[str]:
    """Names of the time series that our processes expose."""
    # what they would be asked is not asked
    names = {*_Worker._gauges(None), *gauges({}, (), (), list)}  # type: ignore[arg-type] - names alone
    for metric in vars(telemetry).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.describe()
            ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
            names |= {family.name + end for end in ends[family.type]}
    return names


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in ALERTS)
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])


def parse(words: list[str]) -> None:
    """Raises where our program has no such command or option."""
    command, context = PROGRAM, PROGRAM.make_context("tcpdashboard", [], resilient_parsing=True)
    while hasattr(command, "get_command"):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, name
        command, context = found, found.make_context(name, [], parent=context, resilient_parsing=True)
    command.make_context(command.name, list(words))


def test_every_metric_that_is_drawn_or_alarms_is_one_of_ours() -> None:
    used = {name for text in expressions() for name in re.findall(r"\btcpd_\w+", text)}
    assert len(used) > 10
    assert used <= samples()


def test_the_dashboard_shows_how_sources_stand() -> None:
    drawn = {
        name for p in DASHBOARD["panels"] for t in p["targets"] for name in re.findall(r"tcpd_\w+", t["expr"])
    }
    assert drawn >= {
        f"tcpd_source_{what}"
        for what in ("state", "trade_age_seconds", "gaps", "reconnects", "clock_skew_seconds")
    }
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})


def test_the_alarms_tell_what_to_do() -> None:
    assert {rule["alert"] for rule in ALERTS} >= {
        "JournalLagGrows", "DeadLetters", "StaleData", "RedisDisconnected", "ProcessDown",
    }  # fmt: skip
    for rule in ALERTS:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["what_to_do"]


def test_every_panel_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/datasources/prometheus.yaml").read_text())["datasources"]
    asked = {part["datasource"]["uid"] for p in DASHBOARD["panels"] for part in (p, *p["targets"])}
    assert asked == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_run_commands_that_exist(name: str) -> None:
    command = OURS[name]["command"]
    if "entrypoint" not in OURS[name]:
        parse(command)
        return
    lines = [line.split(" > ")[0] for line in command[0].splitlines() if line.startswith("tcpdashboard ")]
    assert lines
    for line in lines:
        parse(shlex.split(line)[1:])


def test_a_command_that_does_not_exist_is_found_here() -> None:
    with pytest.raises(AssertionError):
        parse(["fold"])
    with pytest.raises(Exception, match="--probe-prt"):
        parse(["worker", "--probe-prt", "1"])


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_are_given_settings_that_are_read(name: str) -> None:
    given = {key: str(value) for key, value in OURS[name]["environment"].items() if key.startswith("TCPD_")}
    settings = load_settings(given)  # refuses what is no setting
    assert settings.log_url.startswith("kafka:")
    assert "PGPASSWORD" in OURS[name]["environment"]
    assert {key.removeprefix("TCPD_").lower() for key in given} <= set(KNOWN)


def test_workers_have_names_of_their_own() -> None:
    names = [service["environment"].get("TCPD_WORKER") for name, service in OURS.items() if name != "setup"]
    assert len(names) == len(set(names)) == 4
    assert None not in names


def test_prometheus_asks_every_process_by_a_name_that_it_answers_to() -> None:
    asked = {
        target
        for job in PROMETHEUS["scrape_configs"]
        for one in job["static_configs"]
        for target in one["targets"]
    }
    answers = set()
    for name, service in OURS.items():
        words = service["command"]
        if name != "setup":
            options = dict(zip(words[1::2], words[2::2], strict=True))
            assert options["--name"] == name
            answers.add(f"{name}:{options.get('--probe-port') or options['--port']}")
    assert asked == answers
    for job in PROMETHEUS["scrape_configs"]:
        file = job["authorization"]["credentials_file"]
        assert file in SERVICES["setup"]["command"][0]
        assert "token:/token:ro" in SERVICES["prometheus"]["volumes"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_is_pinned_healthy_without_rights_and_not_in_the_open(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", service["image"]), service["image"]
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "healthcheck" in service or service["restart"] == "no"


def test_no_secret_has_a_default() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    secrets = set(re.findall(r"^(\w+)=$", (DEPLOY / ".env.example").read_text(), re.M))
    assert secrets == {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
    for name, rest in re.findall(r"\$\{(\w+)(.*?)\}", text):
        assert name in secrets
        assert rest.startswith(":?")  # compose refuses to start without it
    assert not re.search(r"(?i)(password|secret|token)\w*: +[^\s$&*]", re.sub(r"#.*", "", text))


def test_what_outlives_a_container_is_on_a_volume() -> None:
    named = {volume.partition(":")[0] for s in SERVICES.values() for volume in s.get("volumes", ())}
    assert set(COMPOSE["volumes"]) <= named
    assert "log:/var/lib/kafka/data" in SERVICES["kafka"]["volumes"]
    assert SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"
    for volume in named - set(COMPOSE["volumes"]):
        assert (DEPLOY / volume).is_dir(), volume


def test_the_image_is_made_of_what_its_build_is_given() -> None:
    recipe = (DEPLOY / "Dockerfile").read_text()
    allowed = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", recipe, re.M) for word in line.split()}
    assert copied == allowed
    root = DEPLOY.parents[1]
    assert all((root / name).exists() for name in copied)
    assert re.findall(r"^USER (\S+)$", recipe, re.M) == [OURS["serve"]["user"]]
