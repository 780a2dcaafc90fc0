"""Attacks, sound bounds, verdicts, Lipschitz constants and patterns: how far a network's answers may be relied on.

The names below are what most users want; each is imported when it is first asked for. Two functions share their
module's name and are imported from there: `from cutaway.robustness.verify import verify` (a verdict on a question),
`from cutaway.robustness.certified_share import certified_accuracy` (a whole data set).
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "attacks.apgd": "APGD",
        "attacks.base": "Adversarial Attack",
        "attacks.boundary": "Boundary",
        "attacks.deepfool": "DeepFool",
        "attacks.named": "make_attack",
        "attacks.pgd": "FGSM Noise PGD",
        "attacks.square": "Square",
        "aware": "ConfidentError JointError detection_auroc selective_accuracy uncertainty",
        "bounds.alpha": "AlphaSettings optimised_rows",
        "bounds.intervals": "Limits",
        "bounds.network": "BoundNetwork bound_network",
        "bounds.sweep": "SweepSettings bound_rows bounds_of_many sweep",
        "certified_share": "CertifiedAccuracy certified_accuracy margin_rows radius_curve",
        "certified_training": "CertifiedTrainingSettings train_certified",
        "lipschitz": "LipschitzBounds lipschitz_radius dense_weights lipschitz_bounds network_lipschitz",
        "lipschitz_groups": "GroupedBounds grouped_bounds",
        "patterns": "Pattern coarsen count_activations mine verify_pattern",
        "randomised": "DrawSweep sweep_draws",
        "query": "Clause Query robustness_query",
        "regions": "Intersection Region ball box",
        "regions_linear": "Ellipsoid Hull RotatedBox",
        "variation": "VarianceShares draw_versions redrawn variance_shares",
        "vnnlib": "parse_vnnlib read_vnnlib",
    },
)
