"""What all tests share: one thread for torch, and where the real data is."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real networks and data; tests that need it say so when it is not there."""
    folder = os.environ.get("CUTAWAY_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set CUTAWAY_DATA to a folder that holds it")
    return Path(folder)
