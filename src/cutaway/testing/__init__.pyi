# Written by tools/write_stubs.py from __init__.py.

from cutaway.testing.contract import check_instrument as check_instrument

__all__ = [
    "check_instrument",
]
