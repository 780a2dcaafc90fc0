# Written by tools/write_stubs.py from __init__.py.

from cutaway.data.named import load_data as load_data
from cutaway.errors import CutawayError as CutawayError
from cutaway.instrument import Instrument as Instrument
from cutaway.network.network import Network as Network
from cutaway.network.sources import load_model as load_model
from cutaway.reading.reading import Figure as Figure
from cutaway.reading.reading import Reading as Reading
from cutaway.scanning import scan as scan
from cutaway.status import Status as Status

__version__: str

__all__ = [
    "CutawayError",
    "Figure",
    "Instrument",
    "Network",
    "Reading",
    "Status",
    "load_data",
    "load_model",
    "scan",
]
