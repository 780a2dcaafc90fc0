"""Losses that attacks ascend: of scores `(n, classes)`, labels `(n,)` and perhaps targets `(n,)`, giving `(n,)`.

Each is written so that larger means nearer to success. With z the scores, y the label, t the target and pi the order
of the scores from the largest down:

- cross-entropy: -log softmax(z)_y, with targets log softmax(z)_t;
- margin: max_{k != y} z_k - z_y, with targets z_t - max_{k != t} z_k; above 0 exactly where the attack has won;
- dlr, difference of logits ratio (Croce and Hein, arXiv 2003.01690, eq. 6): margin / (z_pi1 - z_pi3), and with
  targets (eq. 7) (z_t - z_y) / (z_pi1 - (z_pi3 + z_pi4) / 2). Unchanged by shifting and scaling the scores, so that
  large scores cannot make gradients vanish.

We differ: with fewer classes than a ratio needs (3, with targets 4) the margin stands in for it, since the ratio would
be constant there; denominators are at least 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def cross_entropy_loss(scores: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy to the label; with targets minus that to the target.

    `scores` (n, c), `labels` and `targets` (n,), result (n,). Exact up to rounding. Source: definition.
    """
    if targets is None:
        return F.cross_entropy(scores, labels, reduction="none")
    return -F.cross_entropy(scores, targets, reduction="none")


def margin_loss(scores: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """Largest wrong score minus the right one, per row; above 0 exactly where the row is misclassified.

    With targets: the target's score minus the largest other.
    `scores` (n, c), `labels` and `targets` (n,), result (n,). Exact. Source: Carlini and Wagner 2017.
    """
    wanted = labels if targets is None else targets
    own = scores.gather(1, wanted[:, None]).squeeze(1)
    others = scores.scatter(1, wanted[:, None], float("-inf")).amax(dim=1)
    return others - own if targets is None else own - others


def ratio_loss(scores: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """Difference of logits ratio; see the module's text.

    `scores` (n, c), `labels` and `targets` (n,), result (n,). Exact up to rounding. Source: Croce and Hein (arXiv
    2003.01690), Eqs. 6 and 7.
    """
    needed = 3 if targets is None else 4
    if scores.shape[1] < needed:
        return margin_loss(scores, labels, targets)
    top = scores.topk(needed, dim=1).values
    if targets is None:
        return margin_loss(scores, labels) / (top[:, 0] - top[:, 2]).clamp_min(1e-12)
    difference = (scores.gather(1, targets[:, None]) - scores.gather(1, labels[:, None])).squeeze(1)
    return difference / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2).clamp_min(1e-12)


ATTACK_LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy_loss, "margin": margin_loss, "dlr": ratio_loss}
"""Name -> loss."""
