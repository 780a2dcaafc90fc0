"""What the data tests share: an empty mirror and a cache of their own, so that nothing is fetched or taken from the
user's."""

import pytest


@pytest.fixture
def no_mirror(monkeypatch, tmp_path):
    monkeypatch.delenv("CUTAWAY_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def says():
    """says(error, function, *words): the function raises that error, and its text holds the words."""

    def check(error, function, *words):
        with pytest.raises(error) as caught:
            function()
        for word in words:
            assert word in str(caught.value), f"{word!r} not in: {caught.value}"

    return check
