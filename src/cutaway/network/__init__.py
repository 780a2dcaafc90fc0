"""Reading a network: sites, captures, affine maps, twins, fingerprints."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "affine": "AffineMap",
        "capture": "Chunk",
        "network": "Network",
        "outputs": "first_tensor",
        "packed": "with_ordinary_weights",
        "preserve": "preserved",
        "sites": "Site",
    },
)
