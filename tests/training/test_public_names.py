"""Every public name of the training room is there, and the list is whole."""

import importlib

import cutaway.training as training


def test_every_name_is_there():
    for name in training.__all__:
        found = getattr(training, name)
        home = importlib.import_module(f"cutaway.training.{training._MODULE_OF[name]}")
        assert found is getattr(home, name)
    assert sorted(training.__all__) == sorted(training._MODULE_OF)
