"""Attacks: searches for inputs that a network gets wrong, each re-checked by the base class."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "apgd": "APGD",
        "ball": "PerturbationBall",
        "base": "Adversarial Attack",
        "boundary": "Boundary",
        "deepfool": "DeepFool",
        "goals": "Entropy Goal Label MutualInformation OwnLoss TargetClass",
        "losses": "cross_entropy_loss margin_loss ratio_loss",
        "named": "ATTACKS make_attack",
        "pgd": "FGSM Noise PGD",
        "square": "Square",
    },
)
