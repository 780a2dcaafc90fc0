"""Sound bounds on what a network computes over a region of inputs."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "alpha": "AlphaSettings optimised_rows",
        "intervals": "Limits",
        "layers": "LayerBounds layer_bounds",
        "network": "BoundNetwork bound_network",
        "sweep": "SweepSettings bound_rows bounds_of_many",
    },
)
