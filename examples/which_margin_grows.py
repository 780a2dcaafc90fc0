"""Which margin does an optimiser grow? A network without biases on the digits 3 and 8, by three steepest descents.

Every descent ends with all rows right; the residual (0: stationary) and the margin say in which norm of the weights.

python examples/which_margin_grows.py
"""

from __future__ import annotations

import torch
from torch import nn

from cutaway.data import Dataset, load_data
from cutaway.instruments import Margins
from cutaway.training.steepest import SteepestDescent

RATES = {"l2": 0.05, "linf": 0.001, "spectral": 0.01}
"""First step of each descent, which falls to nothing."""


def digits_3_and_8() -> Dataset:
    """Rows of the digits 3 (class 0) and 8 (class 1)."""
    data = load_data("digits", split="train")
    assert data.labels is not None
    rows = data.subset(torch.nonzero((data.labels == 3) | (data.labels == 8))[:, 0])
    assert rows.labels is not None
    return Dataset(name="digits 3 and 8", inputs=rows.inputs, labels=(rows.labels == 8).long(), num_classes=2)


def main(*, steps: int = 600) -> dict[str, str]:
    """Print the margins that each descent grew; returns the norm of least residual by descent."""
    data, best = digits_3_and_8(), {}
    assert data.labels is not None
    for norm, rate in RATES.items():
        torch.manual_seed(0)
        layers = (nn.Flatten(), nn.Linear(64, 32, bias=False), nn.LeakyReLU(0.1), nn.Linear(32, 1, bias=False))
        model = nn.Sequential(*layers)
        optimiser = SteepestDescent(model.parameters(), norm=norm, normalised=True)
        signs = 2 * data.labels - 1
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
            optimiser.zero_grad()
            torch.logsumexp(-model(data.inputs)[:, 0] * signs, dim=0).backward()
            optimiser.step()
        reading = Margins().measure(model.eval(), data)
        if reading.reason:
            print(f"descent in {norm}: {reading.reason}")
            continue
        residual = {n: reading.figure(f"residual_{n}").value for n in ("l1", "l2", "linf", "spectral")}
        best[norm] = min(residual, key=lambda n: residual[n])
        told = ", ".join(
            f"{n} {reading.figure(f'margin_{n}').value:.3g} (residual {r:.2f})" for n, r in residual.items()
        )
        print(f"descent in {norm}: margins {told}")
    return best


if __name__ == "__main__":
    main()
