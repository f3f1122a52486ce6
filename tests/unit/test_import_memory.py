"""Memory does not grow with the file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

IMPORT = """
import sys
from pathlib import Path
from streams.backends import open_log
from tests.trade_files import import_file, market_of
path = Path(sys.argv[1])
market = market_of(path, "v", "BTC/USD", closed="left")
result = import_file(open_log("embedded://" + sys.argv[2]), path, market)
status = Path("/proc/self/status").read_text()  # ru_maxrss would begin at the parent's peak
print(result.appended, int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""
SMALL, LARGE = 100_000, 800_000


def table(rows: int) -> pa.Table:
    numbers = np.arange(rows)
    return pa.table(
        {
            "timestamp": 1_514_764_800_000 + numbers * 10,
            "price": 10_000 + (numbers * 7919 % 100_000) / 100,
            "size": 1 + numbers % 1_000,
        }
    )


WRITERS = {
    "csv.gz": lambda t, path: pa_csv.write_csv(t, pa.CompressedOutputStream(str(path), "gzip")),
    "parquet": lambda t, path: pq.write_table(t, path, row_group_size=500_000),
    "feather": feather.write_feather,
    "newest-first.csv": lambda t, path: pa_csv.write_csv(t.take(np.arange(len(t))[::-1]), path),
}


def peak_mib(folder: Path, form: str, rows: int) -> int:
    path = folder / f"{rows}.{form}"
    WRITERS[form](table(rows), path)
    command = [sys.executable, "-c", IMPORT, str(path), str(folder / f"log{rows}")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ticks, peak = map(int, done.stdout.split())
    assert ticks == rows
    return peak


@pytest.mark.parametrize("form", WRITERS)
def test_a_file_eight_times_as_long_needs_no_more_memory(tmp_path, form):
    small, large = (peak_mib(tmp_path, form, rows) for rows in (SMALL, LARGE))
    assert large - small < 30, f"{SMALL} rows: {small} MiB, {LARGE} rows: {large} MiB"
