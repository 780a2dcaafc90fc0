"""Verification of sentence classifiers: perturbations, regions in embedding space, training, bounds, metrics.

Follows Casadio et al., arXiv 2403.10144 (Eur. J. Appl. Math.), with every transform fitted on training rows only.
"""

from cutaway.guard.nlp.embeddings import WordCounts
from cutaway.guard.nlp.perturb import LEVELS, perturb
from cutaway.guard.nlp.pipeline import Outcome, Settings, run
from cutaway.guard.nlp.regions import Boxes, cluster_boxes, cubes, perturbation_boxes, shrink
from cutaway.guard.nlp.train import train_classifier

__all__ = [
    "LEVELS",
    "Boxes",
    "Outcome",
    "Settings",
    "WordCounts",
    "cluster_boxes",
    "cubes",
    "perturb",
    "perturbation_boxes",
    "run",
    "shrink",
    "train_classifier",
]
