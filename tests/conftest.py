"""What all tests share."""

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded market data beside the checkout."""
    if not SHARED_DATA.is_dir():
        message = f"recorded market data is missing: expected the folder ../shared/data beside the checkout ({SHARED_DATA})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return SHARED_DATA
