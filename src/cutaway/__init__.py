"""Cutaway opens a neural network up.

    Network  --instrument.measure(network, data)-->  Reading  --.against(null)-->  figures with p-values  -->  report

Names are imported on first use, so that `import cutaway` costs nothing.
"""

from cutaway import _facade, _late, _moved

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "data.named": "load_data",
        "errors": "CutawayError",
        "instrument": "Instrument",
        "network.network": "Network",
        "network.sources": "load_model",
        "reading.reading": "Figure Reading",
        "scanning": "scan",
        "status": "Status",
    },
)
__version__ = "0.1.0"
_moved.install()
_late.attach("Reading.plot", "cutaway.registry:draw")
_late.attach("Reading._repr_html_", "cutaway.report.notebook:reading_html")
_late.attach("network.open_checkpoint", "cutaway.training.checkpoint:open_checkpoint")
_late.attach("Network.bounds", "cutaway.robustness.bounds.layers:layer_bounds")
_late.attach("Slice.draw", "cutaway.report.explorer.picture:draw_slice")
_late.attach("Run.report", "cutaway.report.page:write_report")
_late.attach("Run._repr_html_", "cutaway.report.notebook:run_html")
