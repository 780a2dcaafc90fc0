"""The explorer in headless Chromium: frames a second while a slice of 50,000 faces is panned.

    python benchmarks/bench_explorer.py [--short] [--json]

Makes a slice of at least 50,000 faces (--short: 10,000), writes the page, opens it with `#measure` (240 frames at four
times magnification, every frame rasterised and read back) and reads the times from the page. Exits 1 below 20 frames a
second, 0 with a note where no Chromium is found.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_slice import SQUARE, network

from cutaway.geometry.slice import SliceSettings, slice_network
from cutaway.report.explorer import write_explorer

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def measure(page: Path, browser: str) -> dict:
    """What the page wrote down about its own frames."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,900", "--dump-dom"]
    text = subprocess.run(
        [*command, f"{page.as_uri()}#measure"], capture_output=True, text=True, timeout=240, check=True
    ).stdout
    found = re.search(r'<pre id="measured"[^>]*>(\{[^<]*\})</pre>', text)
    if found is None:
        raise RuntimeError("the page wrote no measurement")
    return json.loads(found.group(1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    browser = next((b for b in BROWSERS if shutil.which(b)), None)
    if browser is None:
        print("no Chromium found: nothing measured", file=sys.stderr)
        return 0
    widths = (2, 80, 80, 80, 3) if options.short else (2, 170, 170, 170, 3)
    result = slice_network(network(widths), domain=SQUARE, settings=SliceSettings(check=False))
    with tempfile.TemporaryDirectory() as folder:
        page = write_explorer([result], Path(folder) / "page.html", title="benchmark")
        found = {"page_mb": page.stat().st_size / 2**20, **measure(page, browser)}
    limit = 10_000 if options.short else 50_000
    missed = found["frames_per_second"] < 20 or found["faces"] < limit
    if options.json:
        print(json.dumps({**found, "failures": missed}))
    else:
        print(f"{found['faces']:,} faces: {found['frames_per_second']:.0f} frames a second, ", end="")
        print(
            f"95% of frames within {found['p95_ms']:.1f} ms, worst {found['worst_ms']:.0f} ms; "
            f"{found['page_mb']:.1f} MB"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
