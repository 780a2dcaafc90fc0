"""How hard is a target for a two-layer network? Its exponents, and an estimate of the same from data alone.

python examples/theory_exponent.py
"""

from __future__ import annotations

import numpy as np

from cutaway.dynamics.data_exponents import exponents_of_data
from cutaway.dynamics.exponents import generative_exponent, information_exponent, sample_complexity
from cutaway.dynamics.staircase import leap


def main(num_samples: int = 400_000) -> dict[str, tuple[int | None, int | None]]:
    """Print a table of exponents and return it: name -> (information, generative)."""
    table = {}
    for link in ("relu(z)", "He3(z)", "z**2*exp(-z**2)", "sign(z1*z2)", "z1+z1*z2"):
        information = information_exponent(link)
        generative = generative_exponent(link, num_samples=num_samples, max_degree=4)
        table[link] = (information.value, generative.value)
        steps = leap(link)
        costs = sample_complexity(
            information.value, generative.value, steps.value, generative_at_least=generative.at_least
        )
        print(f"{link:<18} information {information.words}, leap {steps.words}, generative {generative.words}; {costs}")
    # The same from inputs and labels, with no formula at hand: a cubic of the first coordinate, in 8 dimensions.
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((1000, 8))
    found = exponents_of_data(inputs, inputs[:, 0] ** 3 - 3.0 * inputs[:, 0], num_flips=99)
    print("from data: information", found.information, "generative", found.generative, "--", found.caveat)
    table["data"] = (found.information, found.generative)
    return table


if __name__ == "__main__":
    main()
