# Written by tools/write_stubs.py from __init__.py.

from cutaway.features.lofi.baselines import DeepNNGPClassifier as DeepNNGPClassifier
from cutaway.features.lofi.baselines import GradientDescentTwin as GradientDescentTwin
from cutaway.features.lofi.baselines import RandomFeatureClassifier as RandomFeatureClassifier
from cutaway.features.lofi.baselines import RidgeClassifierOnInputs as RidgeClassifierOnInputs
from cutaway.features.lofi.conv_lift import patch_filters as patch_filters
from cutaway.features.lofi.dual_kernels import gram_kernel as gram_kernel
from cutaway.features.lofi.estimators import LoFiClassifier as LoFiClassifier
from cutaway.features.lofi.estimators import LoFiRegressor as LoFiRegressor
from cutaway.features.lofi.estimators import LoFiTransformer as LoFiTransformer
from cutaway.features.lofi.figures import accuracy_figure as accuracy_figure
from cutaway.features.lofi.figures import emergence_figure as emergence_figure
from cutaway.features.lofi.figures import filters_figure as filters_figure
from cutaway.features.lofi.figures import spectrum_figure as spectrum_figure
from cutaway.features.lofi.spectral_emergence import Emergence as Emergence
from cutaway.features.lofi.spectral_emergence import EmergenceCurve as EmergenceCurve
from cutaway.features.lofi.spectral_emergence import emergence as emergence
from cutaway.features.lofi.spectral_emergence import emergence_curve as emergence_curve

__all__ = [
    "DeepNNGPClassifier",
    "Emergence",
    "EmergenceCurve",
    "GradientDescentTwin",
    "LoFiClassifier",
    "LoFiRegressor",
    "LoFiTransformer",
    "RandomFeatureClassifier",
    "RidgeClassifierOnInputs",
    "accuracy_figure",
    "emergence",
    "emergence_curve",
    "emergence_figure",
    "filters_figure",
    "gram_kernel",
    "patch_filters",
    "spectrum_figure",
]
