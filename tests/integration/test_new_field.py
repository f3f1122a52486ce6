"""A field of an event is written down once: a copy of the packages with one more shows it everywhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import streams

ROOT = Path(streams.__file__).parent.parent
PACKAGES = ("streams", "projections", "infra", "api", "tests")
FIELD = "    slippage_paid: Cash = 0\n"

LOOK = """
import json
from sqlalchemy import select
from api.columns import TRADES
from api.http.app import make_app
from api.http.asyncapi import document
from api.http import models
from fastapi import FastAPI
from infra.channels.messages import message, publications
from infra.db import queries, tables
from infra.db.connect import database_at
from infra.db.pages import Window
from infra.db.projector import project
from infra.present import facts
from streams.causes import Cause
from streams.codec import decode_output, schemas
from streams.topics import TRADES as TOPIC
from tests.contract.database_rows import one
from tests.derived import fill

event = fill(slippage_paid=1_234, cash=7)
record = one(TOPIC, 0, event)
engine = database_at("sqlite://")
with engine.begin() as connection:
    tables.metadata.create_all(connection)
    project(connection, [record])
    (stored,) = connection.execute(select(tables.fills)).mappings()
    stored = dict(stored)
(row,) = queries.fills(engine, 1, Window()).rows
app = FastAPI()
app.get("/fills", response_model=models.Fills)(lambda: None)
asyncapi = document("1", "a:1", secure=False, redis_url=None)["components"]["schemas"]
print(json.dumps({
    "log": decode_output(record.value).events[0].slippage_paid,
    "column": stored["slippage_paid"],
    "its neighbours": [stored["cash"], stored["fee"], stored["price_scale"]],
    "JSON": facts.fill(row)["slippage_paid"],
    "export": TRADES["slippage_paid"],
    "socket": json.loads(message(1, publications("sim:A/B", event, Cause(0, 0, 0))[0].body))["slippage_paid"],
    "asyncapi": asyncapi["fill.v1"]["properties"]["slippage_paid"],
    "required": "slippage_paid" in asyncapi["fill.v1"]["required"],
    "openapi": app.openapi()["components"]["schemas"]["Fill"]["properties"]["slippage_paid"]["type"],
    "schemas": "slippage_paid" in json.dumps(schemas()),
}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "vendor")
        )
    events = tmp_path / "streams" / "events" / "derived.py"
    text = events.read_text()
    before = "    cash: Cash\n    price_scale: Scale\n    size_scale: Scale\n    cash_scale: Scale\n    row:"
    assert text.count(before) == 1
    # in the middle, where a row that was made by position would shift money into another column
    events.write_text(text.replace(before, before.replace("    price_scale", f"{FIELD}    price_scale", 1)))
    return tmp_path


def test_a_new_field_of_a_fill_is_one_edit_and_is_seen_at_each_door(copy: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        check=False,
        cwd=copy,
        env={"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "log": 1_234,
        "column": 1_234,
        "its neighbours": [7, 250, 1],
        "JSON": "0.00001234",
        "export": "decimal",
        "socket": "0.00001234",
        "asyncapi": {"$ref": "#/components/schemas/Cash"},
        "required": True,
        "openapi": "string",
        "schemas": True,
    }
