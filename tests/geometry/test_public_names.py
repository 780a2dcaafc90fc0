"""The public names of `cutaway.geometry`: all there, documented, and imported only when asked for."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import cutaway.geometry


@pytest.mark.parametrize("name", cutaway.geometry.__all__)
def test_every_public_name_is_there_and_documented(name):
    found = getattr(cutaway.geometry, name)
    assert not isinstance(found, ModuleType), "a module of the same name would hide it"
    assert found.__doc__ and len(found.__doc__) > 30


def test_the_package_does_not_import_torch():
    code = (
        "import sys, cutaway.geometry; assert 'torch' not in sys.modules and 'plane_through' in dir(cutaway.geometry)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'slise'"):
        _ = cutaway.geometry.slise
