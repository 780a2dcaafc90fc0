# Written by tools/write_stubs.py from __init__.py.

from cutaway.pictures.charts import Measured as Measured
from cutaway.pictures.charts import bars_chart as bars_chart
from cutaway.pictures.charts import collapse_chart as collapse_chart
from cutaway.pictures.charts import distances_chart as distances_chart
from cutaway.pictures.charts import figures_chart as figures_chart
from cutaway.pictures.charts import finished as finished
from cutaway.pictures.charts import reliability_chart as reliability_chart
from cutaway.pictures.charts import sites_chart as sites_chart

__all__ = [
    "Measured",
    "bars_chart",
    "collapse_chart",
    "distances_chart",
    "figures_chart",
    "finished",
    "reliability_chart",
    "sites_chart",
]
