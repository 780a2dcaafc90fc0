"""What all tests share: one thread for torch, seeds, where the real data is, and a real browser."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# a property holds or does not, however busy the machine is
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def same_draws_every_time() -> None:
    """What a test draws from the global streams does not depend on the tests before it."""
    import torch  # after the number of threads is set

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the global stream is what is meant)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real networks and data; tests that need it say so when it is not there."""
    folder = os.environ.get("CUTAWAY_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set CUTAWAY_DATA to a folder that holds it")
    return Path(folder)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--virtual-time-budget=15000",
]  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What a browser made of a page: its DOM, its console messages, and what it asked of the network."""

    dom: str
    messages: list[str]
    fetched: set[str]


@pytest.fixture
def browse(tmp_path) -> Callable[[Path], Seen]:
    """A function that opens a page in headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium, which is not installed here")

    def look(page: Path) -> Seen:
        log = tmp_path / "net.json"
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
             f"--log-net-log={log}", "--dump-dom", page.as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        events = json.loads(log.read_text())["events"]
        urls = {e["params"]["url"] for e in events if "url" in e.get("params", {})}
        return Seen(
            dom=done.stdout,
            messages=[line for line in done.stderr.splitlines() if "CONSOLE" in line],
            fetched={u for u in urls if u.startswith("http") and "google" not in u},
        )

    return look
