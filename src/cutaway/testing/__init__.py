"""What authors of instruments test against; public, so that other packages can call it."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "contract": "check_instrument",
    },
)
