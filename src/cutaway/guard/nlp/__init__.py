"""Verification of sentence classifiers: perturbations, regions in embedding space, training, bounds, metrics.

Follows Casadio et al., arXiv 2403.10144 (Eur. J. Appl. Math.), with every transform fitted on training rows only.
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "embeddings": "WordCounts",
        "perturbations": "LEVELS perturb",
        "pipeline": "SentenceOutcome SentenceSettings run_pipeline",
        "boxes": "Boxes cluster_boxes cubes perturbation_boxes shrink",
        "train": "train_classifier",
    },
)
