"""Kernels: what a network's gradients, or an infinitely wide one, find alike; regression with them.

`tangent_kernel` reads a finite network, `InfiniteNetwork` is a closed form, `solve` and `function_space` predict,
`distil` finds the few rows from which a kernel learns most.
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "distilled": "Distilled distil",
        "duals": "DUALS",
        "empirical": "METHODS tangent_kernel",
        "infinite": "InfiniteNetwork",
        "learned_labels": "LabelFit label_fit",
        "learned_rows": "class_halves first_equal",
        "parts": "EigenFeatures TangentFeature eigen_features feature_directions",
        "predictor": "KernelAttack KernelPredictor",
        "regression": "Solution function_space function_space_elsewhere solve",
        "scaled": "ScaledLinear scaled_network",
        "shape": "target_alignment centre effective_rank kernel_distance top_mass",
    },
)
