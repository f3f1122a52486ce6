"""The whole of OpenAPI, asked with what its schema allows and what it does not."""

from collections.abc import Callable
from contextlib import suppress

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from api.http import commands
from tests.integration.api.conftest import Api

CASES = 12
"""Of each route and kind; more of them find nothing more on the paths there are."""


def test_every_route_is_described_with_its_errors_and_an_example(api: Api) -> None:
    schema = api.get("/api/openapi.json")
    assert schema["security"] == [{"token": []}, {"session": []}]
    assert len(schema["paths"]) > 25
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            answers = operation["responses"]
            assert answers["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem"), path
            assert operation["summary"], path
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    examples = [name for name, model in schema["components"]["schemas"].items() if "examples" in str(model)]
    assert len(examples) > 20


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_makes_the_server_fail(
    fresh: Api, monkeypatch: pytest.MonkeyPatch, mode: GenerationMode
) -> None:
    """Commands too: it is a home of its own."""
    monkeypatch.setattr(commands, "WAIT_S", 0.0)  # nobody folds here
    schema = schemathesis.openapi.from_dict(fresh.get("/api/openapi.json"))
    schema.config.update(base_url=fresh.url)
    headers = {"Authorization": f"Bearer {fresh.token('admin')}"}
    session = requests.Session()
    asked: set[str] = set()

    def check(case: schemathesis.Case) -> None:
        asked.add(case.operation.label)
        answer = case.call(headers=headers, session=session)
        case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance])
        if answer.status_code >= 400:
            assert set(answer.json()) == {"code", "message", "hint"}, case.as_curl_command()

    for found in schema.get_all_operations():
        operation = found.ok()
        with suppress(Unsatisfiable):  # a route that takes nothing cannot be asked wrongly
            _given(operation.as_strategy(generation_mode=mode), check)
    session.close()
    assert len(asked) > (25 if mode is GenerationMode.POSITIVE else 15)


def _given(cases: SearchStrategy[schemathesis.Case], check: Callable[[schemathesis.Case], None]) -> None:
    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def run(case: schemathesis.Case) -> None:
        check(case)

    run()
