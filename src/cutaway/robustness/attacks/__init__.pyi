# Written by tools/write_stubs.py from __init__.py.

from cutaway.robustness.attacks.apgd import APGD as APGD
from cutaway.robustness.attacks.ball import PerturbationBall as PerturbationBall
from cutaway.robustness.attacks.base import Adversarial as Adversarial
from cutaway.robustness.attacks.base import Attack as Attack
from cutaway.robustness.attacks.boundary import Boundary as Boundary
from cutaway.robustness.attacks.deepfool import DeepFool as DeepFool
from cutaway.robustness.attacks.goals import Entropy as Entropy
from cutaway.robustness.attacks.goals import Goal as Goal
from cutaway.robustness.attacks.goals import Label as Label
from cutaway.robustness.attacks.goals import MutualInformation as MutualInformation
from cutaway.robustness.attacks.goals import OwnLoss as OwnLoss
from cutaway.robustness.attacks.goals import TargetClass as TargetClass
from cutaway.robustness.attacks.losses import cross_entropy_loss as cross_entropy_loss
from cutaway.robustness.attacks.losses import margin_loss as margin_loss
from cutaway.robustness.attacks.losses import ratio_loss as ratio_loss
from cutaway.robustness.attacks.named import ATTACKS as ATTACKS
from cutaway.robustness.attacks.named import make_attack as make_attack
from cutaway.robustness.attacks.pgd import FGSM as FGSM
from cutaway.robustness.attacks.pgd import PGD as PGD
from cutaway.robustness.attacks.pgd import Noise as Noise
from cutaway.robustness.attacks.square import Square as Square

__all__ = [
    "APGD",
    "ATTACKS",
    "Adversarial",
    "Attack",
    "Boundary",
    "DeepFool",
    "Entropy",
    "FGSM",
    "Goal",
    "Label",
    "MutualInformation",
    "Noise",
    "OwnLoss",
    "PGD",
    "PerturbationBall",
    "Square",
    "TargetClass",
    "cross_entropy_loss",
    "make_attack",
    "margin_loss",
    "ratio_loss",
]
