"""`rebuild`, `migrate` and `settings`."""

import time

from api.cli.options import Json
from api.cli.output import print_json, print_rows, say
from api.cli.session import Session


def rebuild(json: Json = False) -> None:
    """Make the database anew from the log alone."""
    began = time.monotonic()
    with Session() as session:
        from infra.upkeep.rebuild import rebuild as rebuild_database

        applied = rebuild_database(session.log, session.settings.database_url)
        seconds = round(time.monotonic() - began, 3)
        if json:
            print_json({**applied._asdict(), "seconds": seconds})
        else:
            say(f"rebuilt from {applied.records} records in {seconds} s; {applied.repeats} repeats hidden")


def migrate(json: Json = False) -> None:
    """Create the database's tables, or bring them to this version."""
    with Session() as session:
        revision = session.migrate()
        if json:
            print_json({"revision": revision})
        else:
            say(f"the database is at revision {revision}")


def settings(json: Json = False) -> None:
    """Every setting, its value and where it was given."""
    from infra.process.settings import KNOWN, shown

    with Session() as session:
        given = session.settings
        values = {name: _value(getattr(given, name)) for name in KNOWN}
        rows = [{"name": name, "value": values[name], "origin": given.origins[name]} for name in KNOWN]
        descriptions = [setting.description for setting in KNOWN.values()]
        table = (
            {**row, "value": shown(row["value"]), "what": what}
            for row, what in zip(rows, descriptions, strict=True)
        )
        print_rows(rows if json else table, ("name", "value", "origin", "what"), json=json)


def _value(value: object) -> object:
    from infra.process.settings import shown

    if isinstance(value, tuple):
        return [str(part) for part in value]
    return value if isinstance(value, int | None) else shown(value)
