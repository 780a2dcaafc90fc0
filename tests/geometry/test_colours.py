"""Class colours can be told from each other, by people with any colour vision."""

from itertools import combinations

import numpy as np
import pytest

from cutaway.pictures.colours import BOUNDARY, CLASSES, class_colour

# linear RGB as seen with full deficiencies: Machado, Oliveira and Fernandes 2009
VISIONS = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
LMS = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
LMS += [[0.0883024619, 0.2817188376, 0.6299787005]]
LAB = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
LAB += [[0.0259040371, 0.7827717662, -0.8086757660]]


def oklab(colour, vision):
    """Lightness and two opponent axes (Ottosson 2020); 0.02 is about the least that is noticed side by side."""
    s = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    return np.array(LAB) @ np.cbrt(np.array(LMS) @ np.clip(np.array(VISIONS[vision]) @ linear, 0, 1))


def nearest(colours, vision):
    return min(np.linalg.norm(oklab(a, vision) - oklab(b, vision)) for a, b in combinations(colours, 2))


@pytest.mark.parametrize(
    ("vision", "ten", "twenty"),
    [("normal", 0.1, 0.065), ("protan", 0.07, 0.045), ("deutan", 0.07, 0.045), ("tritan", 0.06, 0.04)],
)
def test_ten_and_twenty_classes_stay_apart(vision, ten, twenty):
    assert nearest(CLASSES[:10], vision) >= ten and nearest(CLASSES, vision) >= twenty


def test_edges_are_readable_on_every_class():
    lightness = [oklab(c, "normal")[0] for c in CLASSES]
    assert min(lightness) - oklab(BOUNDARY, "normal")[0] > 0.4
    assert len({class_colour(k) for k in range(20)}) == 20 and class_colour(20) == class_colour(0)
