"""Attacks: searches for inputs that a network gets wrong, each re-checked by the base class."""

from cutaway.robustness.attacks.base import Adversarial, Attack, Ball
from cutaway.robustness.attacks.pgd import PGD, Noise, margin_loss

__all__ = ["PGD", "Adversarial", "Attack", "Ball", "Noise", "margin_loss"]
