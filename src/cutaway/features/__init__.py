"""Features: what networks learn and how it is arranged (Neural LoFi, collapse, sparsity)."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "class_means": "collapse",
        "collapse_by_layer": "SimplexAlignment Layers Means simplex_alignment layer_collapse layer_means",
        "lofi.estimators": "LoFiClassifier LoFiRegressor LoFiTransformer",
        "reconstruction": "ReconstructionAlignment reconstruction_alignment",
        "sparsity": "Firing firing static_dead",
    },
)
