"""Whether a few distilled rows teach a kernel, and a network, more than real ones, and whether they teach to resist.

MNIST at 14 x 14, the closed-form tangent kernel of two hidden layers. The source's own tables could not be read, so the
tolerances are ours. A network is 196-300-10, trained on the rows alone, three times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from cutaway.reproductions.row import Row

SOURCE = "arXiv 2207.11727"
TITLE = "Can robustness come from the data alone? Distillation by a kernel"
RADIUS = 0.1


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """One row a class, then five against an attack; the short form takes a third of the steps and fewer rows."""
    learn, test = _halved("train", 1500 if short else 5000, seed), _halved("test", 150 if short else 1000, seed)
    return _one_a_class(learn, test, 30 if short else 90, seed, progress) + _against_an_attack(
        learn, test, 30 if short else 90, seed, progress
    )


def _halved(split: str, count: int, seed: int) -> Any:
    from cutaway.data import load_data

    data = load_data("mnist", split=split, num=count, seed=seed)
    return replace(data, inputs=nn.functional.avg_pool2d(data.inputs, 2))


def _one_a_class(learn: Any, test: Any, steps: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    from cutaway.kernels import InfiniteNetwork, distil

    infinite, draws = InfiniteNetwork(), 5
    made = distil(infinite, learn, steps=steps, seed=seed).data
    real = [distil(infinite, learn, steps=0, seed=seed + k).start for k in range(draws)]
    assert made.labels is not None
    means = torch.stack([learn.inputs[learn.labels == c].mean(dim=0) for c in made.labels])
    sets = {"distilled": [made], "real": real, "class means": [replace(made, inputs=means)]}
    kernel = {name: _mean([_right(_predictor(infinite, d), test) for d in found]) for name, found in sets.items()}
    trained = {
        name: _mean([_right(net, test) for d in found for net in _trained(d, 3 if name != "real" else 1, seed)])
        for name, found in sets.items()
    }
    progress(f"one a class, kernel right on: {_told(kernel)}; networks: {_told(trained)}")
    rows = []
    for name, found in (("kernel", kernel), ("networks", trained)):
        gain = found["distilled"] - found["real"]
        rows.append(
            Row(
                quantity=f"one row a class, {name}: share right from distilled rows less from real ones",
                paper="distilled rows teach more than as many real ones",
                reference="published",
                ours=gain,
                tolerance="at least 0.2",
                verdict="pass" if gain >= 0.2 else "fail",
            )
        )
        rows.append(
            Row(
                quantity=f"one row a class, {name}: share right from distilled rows, the class means, real rows",
                ours=_told(found),
                tolerance="the class means are the honest rival",
                verdict="report",
            )
        )
    return rows


def _against_an_attack(learn: Any, test: Any, steps: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    from cutaway.kernels import InfiniteNetwork, distil
    from cutaway.robustness.attacks import PGD

    infinite, attack, few = InfiniteNetwork(), PGD(radius=RADIUS, steps=20), test.take(min(len(test), 200), seed)
    found = distil(infinite, learn, per_class=5, steps=steps, radius=RADIUS, seed=seed)
    plain = distil(infinite, learn, per_class=5, steps=steps, seed=seed)
    sets = {"adversarial": found.data, "plain": plain.data, "real": found.start}
    clean, robust, net, transfer = {}, {}, {}, {}
    for name, data in sets.items():
        predictor = _predictor(infinite, data)
        points = attack.attack(predictor, few, seed=seed)
        clean[name], robust[name] = _right(predictor, test), 1 - float(points.success.double().mean())
        nets = _trained(data, 3, seed)
        net[name] = _mean([1 - float(attack.attack(n, few, seed=seed).success.double().mean()) for n in nets])
        transfer[name] = _mean([_right(n, replace(few, inputs=points.inputs)) for n in nets])
    progress(f"five a class, kernel clean: {_told(clean)}; under attack: {_told(robust)}")
    progress(f"five a class, networks under attack: {_told(net)}; under the kernel's points: {_told(transfer)}")
    gain, kept = robust["adversarial"] - robust["real"], net["adversarial"] - net["real"]
    return [
        Row(
            quantity=f"five rows a class, kernel under attack (linf {RADIUS}): distilled against it less real rows",
            paper="a kernel learns to resist from the data alone",
            reference="published",
            ours=gain,
            tolerance="at least 0.15",
            verdict="pass" if gain >= 0.15 else "fail",
        ),
        Row(
            quantity="the same, less rows distilled without the attack",
            ours=robust["adversarial"] - robust["plain"],
            tolerance="above 0",
            verdict="pass" if robust["adversarial"] > robust["plain"] else "fail",
        ),
        Row(
            quantity="kernel right on clean rows; under attack",
            ours=f"{_told(clean)}; {_told(robust)}",
            tolerance="",
            verdict="report",
        ),
        Row(
            quantity="networks trained on these rows: right under attack; under the kernel's points",
            paper="the gain transfers to networks in part",
            reference="published",
            ours=f"{_told(net)}; {_told(transfer)}: {kept / gain if gain else float('nan'):.0%} of the kernel's gain",
            tolerance="",
            verdict="report",
        ),
    ]


def _predictor(infinite: Any, data: Any) -> Any:
    from cutaway.kernels import KernelPredictor
    from cutaway.network import Network

    return Network(KernelPredictor.fit(infinite, data).eval(), data.inputs[:2], probe=False)


def _trained(data: Any, count: int, seed: int) -> list[Any]:
    from cutaway.network import Network

    made = []
    for number in range(count):
        torch.manual_seed(seed + number)
        model = nn.Sequential(nn.Flatten(), nn.Linear(196, 300), nn.ReLU(), nn.Linear(300, 10))
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(300):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(data.inputs), data.labels).backward()
            optimiser.step()
        made.append(Network(model.eval(), data.inputs[:2]))
    return made


def _right(network: Any, data: Any) -> float:
    return float((network.outputs(data.inputs).argmax(dim=1) == data.labels).double().mean())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _told(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())
