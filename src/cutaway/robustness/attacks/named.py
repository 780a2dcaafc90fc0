"""Attacks by name, as options and instruments give them."""

from __future__ import annotations

import dataclasses

from cutaway.errors import InputError, did_you_mean
from cutaway.robustness.attacks.apgd import APGD
from cutaway.robustness.attacks.base import Attack
from cutaway.robustness.attacks.boundary import Boundary
from cutaway.robustness.attacks.deepfool import DeepFool
from cutaway.robustness.attacks.pgd import FGSM, PGD, Noise
from cutaway.robustness.attacks.square import Square

ATTACKS: dict[str, type[Attack]] = {kind.name: kind for kind in (PGD, FGSM, APGD, DeepFool, Square, Boundary, Noise)}
"""Name -> class."""


def make_attack(name: str, **settings) -> Attack:
    """The attack `name` with those of the settings that it has; a setting that is None keeps its default.

    Raises `InputError` for a name that is none.
    """
    if name not in ATTACKS:
        raise InputError(
            "attack",
            found=repr(name),
            expected=f"one of {', '.join(ATTACKS)}",
            remedy=did_you_mean(name, ATTACKS),
        )
    kind = ATTACKS[name]
    fields = {f.name for f in dataclasses.fields(kind)}
    return kind(**{k: v for k, v in settings.items() if k in fields and v is not None})
