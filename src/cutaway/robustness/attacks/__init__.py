"""Attacks: searches for inputs that a network gets wrong, each re-checked by the base class."""

from cutaway.robustness.attacks.apgd import APGD
from cutaway.robustness.attacks.ball import Ball
from cutaway.robustness.attacks.base import Adversarial, Attack
from cutaway.robustness.attacks.boundary import Boundary
from cutaway.robustness.attacks.deepfool import DeepFool
from cutaway.robustness.attacks.losses import cross_entropy_loss, margin_loss, ratio_loss
from cutaway.robustness.attacks.named import ATTACKS, make_attack
from cutaway.robustness.attacks.pgd import FGSM, PGD, Noise
from cutaway.robustness.attacks.square import Square

__all__ = [
    "APGD",
    "ATTACKS",
    "Adversarial",
    "Attack",
    "Ball",
    "Boundary",
    "DeepFool",
    "FGSM",
    "Noise",
    "PGD",
    "Square",
    "cross_entropy_loss",
    "make_attack",
    "margin_loss",
    "ratio_loss",
]
