"""The fastest third-party instrument: a package with one file, installed, found by the command line, scanned with."""

import json
import subprocess
import sys
import textwrap

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "cutaway-depth"
version = "0.1"
[project.entry-points."cutaway.instruments"]
depth = "cutaway_depth:Depth"
"""

CODE = '''
"""Instrument `depth`: how many activation sites lie in a row."""
from dataclasses import dataclass
from typing import ClassVar
import xarray as xr
from cutaway.instrument import Findings, Instrument
from cutaway.reading import Figure, variable

@dataclass(frozen=True, kw_only=True)
class Depth(Instrument):
    """Number of activation sites of one forward pass; exact."""
    name: ClassVar[str] = "depth"
    question: ClassVar[str] = "How many activations lie in a row?"
    source: ClassVar[str] = "counting"
    expense: ClassVar[str] = "1 forward pass"
    null: ClassVar[str] = ""

    def _measure(self, network, data, context):
        network.outputs(data.inputs[:1])
        sites = network.select("activation")
        values = xr.Dataset({"depth": variable(len(sites), [], long_name="activation sites", kind="exact")})
        return Findings(values=values, figures=(Figure(name="depth", value=float(len(sites))),), sites=sites)
'''


def test_a_package_with_one_instrument_is_found_and_scanned_with(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(PROJECT)
    (package / "cutaway_depth.py").write_text(textwrap.dedent(CODE))
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    subprocess.run([*install, str(package)], check=True, capture_output=True, timeout=120)
    import os

    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    code = f"""
import sys
from cutaway.cli import run
from cutaway.testing import check_instrument
from cutaway_depth import Depth
check_instrument(Depth())
sys.exit(run(["scan", "--only", "depth", "--num", "20", "--out", {str(tmp_path / "run")!r}, "--json"]))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["readings"]
    assert (row["instrument"], row["value"]) == ("depth", 3.0)
