"""Neural LoFi: what a network would learn, one spectral step a layer (arXiv 2605.13612)."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "baselines": "DeepNNGPClassifier GradientDescentTwin RandomFeatureClassifier RidgeClassifierOnInputs",
        "conv_lift": "patch_filters",
        "dual_kernels": "gram_kernel",
        "estimators": "LoFiClassifier LoFiRegressor LoFiTransformer",
        "figures": "accuracy_figure emergence_figure filters_figure spectrum_figure",
        "spectral_emergence": "Emergence EmergenceCurve emergence emergence_curve",
    },
)
