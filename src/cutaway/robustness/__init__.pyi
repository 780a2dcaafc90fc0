# Written by tools/write_stubs.py from __init__.py.

from cutaway.robustness.attacks.apgd import APGD as APGD
from cutaway.robustness.attacks.base import Adversarial as Adversarial
from cutaway.robustness.attacks.base import Attack as Attack
from cutaway.robustness.attacks.boundary import Boundary as Boundary
from cutaway.robustness.attacks.deepfool import DeepFool as DeepFool
from cutaway.robustness.attacks.named import make_attack as make_attack
from cutaway.robustness.attacks.pgd import FGSM as FGSM
from cutaway.robustness.attacks.pgd import PGD as PGD
from cutaway.robustness.attacks.pgd import Noise as Noise
from cutaway.robustness.attacks.square import Square as Square
from cutaway.robustness.aware import ConfidentError as ConfidentError
from cutaway.robustness.aware import JointError as JointError
from cutaway.robustness.aware import detection_auroc as detection_auroc
from cutaway.robustness.aware import selective_accuracy as selective_accuracy
from cutaway.robustness.aware import uncertainty as uncertainty
from cutaway.robustness.bounds.alpha import AlphaSettings as AlphaSettings
from cutaway.robustness.bounds.alpha import optimised_rows as optimised_rows
from cutaway.robustness.bounds.intervals import Limits as Limits
from cutaway.robustness.bounds.network import BoundNetwork as BoundNetwork
from cutaway.robustness.bounds.network import bound_network as bound_network
from cutaway.robustness.bounds.sweep import SweepSettings as SweepSettings
from cutaway.robustness.bounds.sweep import bound_rows as bound_rows
from cutaway.robustness.bounds.sweep import bounds_of_many as bounds_of_many
from cutaway.robustness.bounds.sweep import sweep as sweep
from cutaway.robustness.certified_share import CertifiedAccuracy as CertifiedAccuracy
from cutaway.robustness.certified_share import certified_accuracy as certified_accuracy
from cutaway.robustness.certified_share import margin_rows as margin_rows
from cutaway.robustness.certified_share import radius_curve as radius_curve
from cutaway.robustness.certified_training import CertifiedTrainingSettings as CertifiedTrainingSettings
from cutaway.robustness.certified_training import train_certified as train_certified
from cutaway.robustness.lipschitz import LipschitzBounds as LipschitzBounds
from cutaway.robustness.lipschitz import dense_weights as dense_weights
from cutaway.robustness.lipschitz import lipschitz_bounds as lipschitz_bounds
from cutaway.robustness.lipschitz import lipschitz_radius as lipschitz_radius
from cutaway.robustness.lipschitz import network_lipschitz as network_lipschitz
from cutaway.robustness.lipschitz_groups import GroupedBounds as GroupedBounds
from cutaway.robustness.lipschitz_groups import grouped_bounds as grouped_bounds
from cutaway.robustness.patterns import Pattern as Pattern
from cutaway.robustness.patterns import coarsen as coarsen
from cutaway.robustness.patterns import count_activations as count_activations
from cutaway.robustness.patterns import mine as mine
from cutaway.robustness.patterns import verify_pattern as verify_pattern
from cutaway.robustness.query import Clause as Clause
from cutaway.robustness.query import Query as Query
from cutaway.robustness.query import robustness_query as robustness_query
from cutaway.robustness.randomised import DrawSweep as DrawSweep
from cutaway.robustness.randomised import sweep_draws as sweep_draws
from cutaway.robustness.regions import Intersection as Intersection
from cutaway.robustness.regions import Region as Region
from cutaway.robustness.regions import ball as ball
from cutaway.robustness.regions import box as box
from cutaway.robustness.regions_linear import Ellipsoid as Ellipsoid
from cutaway.robustness.regions_linear import Hull as Hull
from cutaway.robustness.regions_linear import RotatedBox as RotatedBox
from cutaway.robustness.variation import VarianceShares as VarianceShares
from cutaway.robustness.variation import draw_versions as draw_versions
from cutaway.robustness.variation import redrawn as redrawn
from cutaway.robustness.variation import variance_shares as variance_shares
from cutaway.robustness.vnnlib import parse_vnnlib as parse_vnnlib
from cutaway.robustness.vnnlib import read_vnnlib as read_vnnlib

__all__ = [
    "APGD",
    "Adversarial",
    "AlphaSettings",
    "Attack",
    "BoundNetwork",
    "Boundary",
    "CertifiedAccuracy",
    "CertifiedTrainingSettings",
    "Clause",
    "ConfidentError",
    "DeepFool",
    "DrawSweep",
    "Ellipsoid",
    "FGSM",
    "GroupedBounds",
    "Hull",
    "Intersection",
    "JointError",
    "Limits",
    "LipschitzBounds",
    "Noise",
    "PGD",
    "Pattern",
    "Query",
    "Region",
    "RotatedBox",
    "Square",
    "SweepSettings",
    "VarianceShares",
    "ball",
    "bound_network",
    "bound_rows",
    "bounds_of_many",
    "box",
    "certified_accuracy",
    "coarsen",
    "count_activations",
    "dense_weights",
    "detection_auroc",
    "draw_versions",
    "grouped_bounds",
    "lipschitz_bounds",
    "lipschitz_radius",
    "make_attack",
    "margin_rows",
    "mine",
    "network_lipschitz",
    "optimised_rows",
    "parse_vnnlib",
    "radius_curve",
    "read_vnnlib",
    "redrawn",
    "robustness_query",
    "selective_accuracy",
    "sweep",
    "sweep_draws",
    "train_certified",
    "uncertainty",
    "variance_shares",
    "verify_pattern",
]
