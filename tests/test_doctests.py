"""The examples in the docstrings give what they say they give."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import cutaway

ROOT = Path(cutaway.__file__).parent
FILES = sorted(f for f in ROOT.rglob("*.py") if re.search(r"^\s*>>> ", f.read_text(), re.MULTILINE))


def test_there_are_examples():
    assert len(FILES) >= 5


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_the_examples_of(file):
    name = ".".join(("cutaway", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    told: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name)):
        runner.run(example, out=told.append)
    assert runner.summarize(verbose=False).attempted > 0, "an example that is not collected"
    assert not told, "".join(told)
