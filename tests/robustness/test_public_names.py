"""The public names of the robustness room: each is there, listed once, and costs nothing until it is asked for."""

import importlib
import subprocess
import sys

import pytest

ROOMS = ("cutaway.robustness", "cutaway.robustness.verify", "cutaway.robustness.attacks")


@pytest.mark.parametrize("room", ROOMS)
def test_every_listed_name_is_there(room):
    module = importlib.import_module(room)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


def test_lists_and_homes_agree():
    for room in ROOMS[:2]:
        module = importlib.import_module(room)
        assert set(module.__all__) == set(module._HOME)


def test_the_room_alone_imports_nothing_heavy():
    code = "import sys, cutaway.robustness, cutaway.robustness.verify; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
