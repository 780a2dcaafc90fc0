"""What authors of instruments test against; public, so that other packages can call it."""

from cutaway.testing.contract import check_instrument

__all__ = ["check_instrument"]
