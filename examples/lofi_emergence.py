"""Which features does my data carry, which will appear with more of it, and does learning them beat a fixed kernel?

python examples/lofi_emergence.py [PICTURE.png]
"""

from __future__ import annotations

import sys

import numpy as np

from cutaway.features.lofi.baselines import DeepNNGPClassifier
from cutaway.features.lofi.estimators import LoFiClassifier
from cutaway.features.lofi.figures import emergence_figure
from cutaway.features.lofi.spectral_emergence import emergence_curve


def main(picture: str | None = None, *, num: int = 1200, dimension: int = 32) -> tuple[float, float]:
    """Print the emergence table; return the test accuracies of LoFi and of its kernel without feature learning."""
    rng = np.random.default_rng(0)
    inputs, test = rng.standard_normal((num, dimension)), rng.standard_normal((1000, dimension))
    strengths = np.array([1.0, -1.0, 0.5, -0.5])

    def label(x: np.ndarray) -> np.ndarray:
        return np.sign(x[:, :4] ** 2 @ strengths)

    labels = label(inputs)
    curve = emergence_curve(inputs, labels, num_directions=6, num_permutations=20)
    now = curve.now
    for row in range(now.eigenvalues.size):
        print(
            f"direction {row + 1}: eigenvalue {now.eigenvalues[row]:+.3f}, noise edge {now.analytic_edge:.3f}, "
            f"needs n = {now.critical_samples[row]:.0f}, predicted overlap {now.overlaps[row]:.2f}, "
            f"p = {now.p_values[row]:.3f}"
        )
    print(f"next feature: n = {now.next_critical_samples:.0f} (not before {now.next_low:.0f})")
    learned = LoFiClassifier(n_directions=(4, 8, 16), random_state=0).fit(inputs, labels)
    accuracy = learned.score(test, label(test))
    fixed = DeepNNGPClassifier().fit(inputs, labels).score(test, label(test))
    print(
        f"LoFi {accuracy:.3f} (held out {learned.validation_score_:.3f} +- {learned.validation_standard_error_:.3f}), "
        f"K = {learned.n_directions_}, depth {learned.depth_}; kernel without features {fixed:.3f}"
    )
    if picture:
        emergence_figure(curve).savefig(picture, dpi=150)
    return accuracy, fixed


if __name__ == "__main__":
    main(*sys.argv[1:2])
