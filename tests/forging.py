"""What a forger with this program at hand does to the file of the embedded log."""

import sqlite3

from streams.embedded import file


def seal(connection: sqlite3.Connection) -> None:
    """Give every record the high time and the checksum of what it holds now."""
    rows = connection.execute(
        "SELECT id, CAST(topic AS BLOB), time_ms, key, headers, value FROM records ORDER BY id"
    ).fetchall()
    place, high_ms, sealed = -1, 0, []
    for record_id, topic, time_ms, *content in rows:
        high_ms = max(time_ms, high_ms if place == record_id // file.OFFSETS_MAX else 0)
        place = record_id // file.OFFSETS_MAX
        sealed.append((high_ms, file.checksum(record_id, topic, time_ms, high_ms, *content), record_id))
    connection.executemany("UPDATE records SET high_ms = ?, crc = ? WHERE id = ?", sealed)
