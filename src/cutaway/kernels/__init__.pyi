# Written by tools/write_stubs.py from __init__.py.

from cutaway.kernels.distilled import Distilled as Distilled
from cutaway.kernels.distilled import distil as distil
from cutaway.kernels.duals import DUALS as DUALS
from cutaway.kernels.empirical import METHODS as METHODS
from cutaway.kernels.empirical import tangent_kernel as tangent_kernel
from cutaway.kernels.infinite import InfiniteNetwork as InfiniteNetwork
from cutaway.kernels.learned_labels import LabelFit as LabelFit
from cutaway.kernels.learned_labels import label_fit as label_fit
from cutaway.kernels.learned_rows import class_halves as class_halves
from cutaway.kernels.learned_rows import first_equal as first_equal
from cutaway.kernels.parts import EigenFeatures as EigenFeatures
from cutaway.kernels.parts import TangentFeature as TangentFeature
from cutaway.kernels.parts import eigen_features as eigen_features
from cutaway.kernels.parts import feature_directions as feature_directions
from cutaway.kernels.predictor import KernelAttack as KernelAttack
from cutaway.kernels.predictor import KernelPredictor as KernelPredictor
from cutaway.kernels.regression import Solution as Solution
from cutaway.kernels.regression import function_space as function_space
from cutaway.kernels.regression import function_space_elsewhere as function_space_elsewhere
from cutaway.kernels.regression import solve as solve
from cutaway.kernels.scaled import ScaledLinear as ScaledLinear
from cutaway.kernels.scaled import scaled_network as scaled_network
from cutaway.kernels.shape import centre as centre
from cutaway.kernels.shape import effective_rank as effective_rank
from cutaway.kernels.shape import kernel_distance as kernel_distance
from cutaway.kernels.shape import target_alignment as target_alignment
from cutaway.kernels.shape import top_mass as top_mass

__all__ = [
    "DUALS",
    "Distilled",
    "EigenFeatures",
    "InfiniteNetwork",
    "KernelAttack",
    "KernelPredictor",
    "LabelFit",
    "METHODS",
    "ScaledLinear",
    "Solution",
    "TangentFeature",
    "centre",
    "class_halves",
    "distil",
    "effective_rank",
    "eigen_features",
    "feature_directions",
    "first_equal",
    "function_space",
    "function_space_elsewhere",
    "kernel_distance",
    "label_fit",
    "scaled_network",
    "solve",
    "tangent_kernel",
    "target_alignment",
    "top_mass",
]
