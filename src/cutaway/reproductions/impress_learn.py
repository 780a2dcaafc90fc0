"""Whether a new task is learned by mixing masks that were learned for other tasks, all over one frozen random network
(ImpressLearn, after SupSup), and whether these masks need to have been learned at all.

Digits with permuted pixels, 64-256-256-10, weights of random signs that are never trained, masks of 5 % of them. A new
permutation gets a mixture of the k masks of others, one coefficient a mask and layer (heterogeneous) or a mask
(homogeneous). No table of the paper could be read: its claims are judged by sign, beside the null of random masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cutaway.reproductions.row import Row, held

SOURCE = "ImpressLearn, OpenReview RxK8dDX1ck; SupSup, arXiv 2006.14769"
TITLE = "New tasks from mixed masks of old ones, beside random masks"

SHAPES = ((256, 64), (256, 256), (10, 256))
KEEP = 0.05

Masks = list[Tensor]


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """Ten masks and three new tasks; the short form takes six, one and half of the steps."""
    count, new, steps = (6, 1, 200) if short else (10, 3, 400)
    learn, test = (_flat(split) for split in ("train", "test"))
    frozen = frozen_weights(seed)
    base = [learned_masks(frozen, _turned(learn, task), steps, task) for task in range(count)]
    random = [masks_at_random(500 + k) for k in range(count)]
    found: dict[str, list[float]] = {}
    for task in range(100, 100 + new):
        own, judged = _turned(learn, task), _turned(test, task)
        ways = {
            "a mask of its own": learned_masks(frozen, own, steps, task),
            "mixed masks": mixed(frozen, base, own, steps, task),
            "one coefficient a mask": mixed(frozen, base, own, steps, task, layers=1),
            "half as many masks": mixed(frozen, base[: count // 2], own, steps, task),
            "mixed random masks": mixed(frozen, random, own, steps, task),
            "the mean of the masks": [torch.stack(parts).mean(dim=0) for parts in zip(*base, strict=True)],
        }
        right = {name: share_answered(frozen, masks, judged) for name, masks in ways.items()}
        right["the best mask of another task"] = max(share_answered(frozen, masks, judged) for masks in base)
        for name, value in right.items():
            found.setdefault(name, []).append(value)
        progress(f"task {task}: " + ", ".join(f"{name} {value:.3f}" for name, value in right.items()))
    return rows_of_mixtures({name: sum(values) / len(values) for name, values in found.items()}, count)


def rows_of_mixtures(right: dict[str, float], count: int) -> list[Row]:
    """The claims, each as a difference of shares right."""
    mixture, single = right["mixed masks"], right["the best mask of another task"]
    told = ", ".join(f"{name} {value:.3f}" for name, value in right.items())
    return [
        held(
            f"new task from {count} masks, less the best of them alone",
            "a mixture of learned masks serves a task that none of them was learned for",
            "published",
            mixture - single,
            "at least 0.1",
            mixture - single >= 0.1,
        ),
        held(
            f"from {count} masks, less from {count // 2}",
            "more masks serve better",
            "published",
            mixture - right["half as many masks"],
            "above 0",
            mixture > right["half as many masks"],
        ),
        held(
            "one coefficient a mask and layer, less one a mask",
            "heterogeneous mixtures serve better than homogeneous ones",
            "published",
            mixture - right["one coefficient a mask"],
            "above 0",
            mixture > right["one coefficient a mask"],
        ),
        Row(
            quantity="from learned masks, less from random ones",
            ours=mixture - right["mixed random masks"],
            verdict="report",
        ),
        Row(
            quantity="a mask of its own, less the mixture",
            paper="a mixture comes near a mask of its own",
            reference="published",
            ours=right["a mask of its own"] - mixture,
            verdict="report",
        ),
        Row(quantity="share right on a new task", ours=told, verdict="report"),
    ]


def frozen_weights(seed: int) -> Masks:
    """Random signs, of the size that keeps a masked layer's outputs as large as its inputs."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator).sign() * (2 / (KEEP * s[1])) ** 0.5 for s in SHAPES]


def learned_masks(frozen: Masks, task: tuple[Tensor, Tensor], steps: int, seed: int) -> Masks:
    """Masks of the largest scores, learned straight through the cut."""
    generator = torch.Generator().manual_seed(seed)
    scores = [((torch.rand(s, generator=generator) * 2 - 1) / s[1] ** 0.5).requires_grad_() for s in SHAPES]
    _descend(scores, lambda: [_through(score.abs()) for score in scores], frozen, task, steps, 1e-3, generator)
    return [_through(score.abs()).detach() for score in scores]


def masks_at_random(seed: int) -> Masks:
    """As many ones as a learned mask has, anywhere."""
    generator = torch.Generator().manual_seed(seed)
    return [_largest(torch.rand(s, generator=generator)) for s in SHAPES]


def mixed(
    frozen: Masks, base: list[Masks], task: tuple[Tensor, Tensor], steps: int, seed: int, layers: int = len(SHAPES)
) -> Masks:
    """The mixture of `base` that serves a task best, from equal parts; `layers` 1 for the same in every layer."""
    stacked = [torch.stack(parts) for parts in zip(*base, strict=True)]
    parts = torch.full((layers, len(base)), 1 / len(base), requires_grad=True)

    def made() -> Masks:
        return [torch.tensordot(parts[k % layers], masks, 1) for k, masks in enumerate(stacked)]

    _descend([parts], made, frozen, task, steps, 1e-2, torch.Generator().manual_seed(seed))
    return [mask.detach() for mask in made()]


def share_answered(frozen: Masks, masks: Masks, task: tuple[Tensor, Tensor]) -> float:
    """Share of a task's rows that are right."""
    return float((_answers(frozen, masks, task[0]).argmax(dim=1) == task[1]).double().mean())


def _descend(
    parameters: list[Tensor],
    made: Callable[[], Masks],
    frozen: Masks,
    task: tuple[Tensor, Tensor],
    steps: int,
    rate: float,
    generator: torch.Generator,
) -> None:
    optimiser = torch.optim.RMSprop(parameters, lr=rate)
    for _ in range(steps):
        rows = torch.randint(len(task[0]), (128,), generator=generator)
        optimiser.zero_grad()
        functional.cross_entropy(_answers(frozen, made(), task[0][rows]), task[1][rows]).backward()
        optimiser.step()


def _answers(frozen: Masks, masks: Masks, inputs: Tensor) -> Tensor:
    for layer, (weight, mask) in enumerate(zip(frozen, masks, strict=True)):
        inputs = inputs @ (weight * mask).T
        inputs = inputs if layer + 1 == len(frozen) else inputs.relu()
    return inputs


def _largest(scores: Tensor) -> Tensor:
    count = int(KEEP * scores.numel())
    return torch.zeros_like(scores).flatten().scatter(0, scores.flatten().topk(count).indices, 1.0).view_as(scores)


def _through(scores: Tensor) -> Tensor:
    """The mask of the largest scores, whose derivative is taken as 1."""
    return _largest(scores.detach()) + scores - scores.detach()


def _flat(split: str) -> tuple[Tensor, Any]:
    from cutaway.data import load_data

    data = load_data("digits", split=split)
    return data.inputs.flatten(1), data.labels


def _turned(task: tuple[Tensor, Any], number: int) -> tuple[Tensor, Tensor]:
    """The task with its pixels in another order."""
    order = torch.randperm(task[0].shape[1], generator=torch.Generator().manual_seed(1000 + number))
    return task[0][:, order], task[1]
