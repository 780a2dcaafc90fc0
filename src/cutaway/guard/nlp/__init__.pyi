# Written by tools/write_stubs.py from __init__.py.

from cutaway.guard.nlp.boxes import Boxes as Boxes
from cutaway.guard.nlp.boxes import cluster_boxes as cluster_boxes
from cutaway.guard.nlp.boxes import cubes as cubes
from cutaway.guard.nlp.boxes import perturbation_boxes as perturbation_boxes
from cutaway.guard.nlp.boxes import shrink as shrink
from cutaway.guard.nlp.embeddings import WordCounts as WordCounts
from cutaway.guard.nlp.perturbations import LEVELS as LEVELS
from cutaway.guard.nlp.perturbations import perturb as perturb
from cutaway.guard.nlp.pipeline import SentenceOutcome as SentenceOutcome
from cutaway.guard.nlp.pipeline import SentenceSettings as SentenceSettings
from cutaway.guard.nlp.pipeline import run_pipeline as run_pipeline
from cutaway.guard.nlp.train import train_classifier as train_classifier

__all__ = [
    "Boxes",
    "LEVELS",
    "SentenceOutcome",
    "SentenceSettings",
    "WordCounts",
    "cluster_boxes",
    "cubes",
    "perturb",
    "perturbation_boxes",
    "run_pipeline",
    "shrink",
    "train_classifier",
]
