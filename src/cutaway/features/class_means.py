"""Neural collapse: NC1 to NC4 of the features before the last linear layer.

Notation (Su, Kempe et al., arXiv 2311.07444; Papyan et al. 2020, arXiv 2008.08186): features h_i, class means mu_c,
global mean mu_G, M = [mu_c - mu_G] (C x d), Sigma_W the within-class covariance, Sigma_B = M^T M / C.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from cutaway.errors import InputError
from cutaway.network import Network


def collapse(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """NC1, NC2 (norms, angles), NC3, NC4 of `features` `(n, d)` with `labels` `(n,)`; `weight` `(C, d)` is the
    classifier's.

    nc1 = tr(Sigma_W pinv(Sigma_B)) / C (the authors' code leaves out the customary 1/C); nc2_norm = std/mean of
    |M_c|; nc2_angle = mean over c != c' of |cos(M_c, M_c') + 1/(C-1)|; nc3 = |W/|W|_F - M/|M|_F|_F^2; nc4 = share of
    samples whose nearest class mean is not what the network predicts. All >= 0, 0 at full collapse. Classes that do
    not occur are left out of the means. NaN with fewer than two, and where all means are one point up to rounding.
    Exact up to rounding, for these rows; `predictions` `(n,)`. Source: Su, Kempe et al. (arXiv 2311.07444); Papyan, Han
    and Donoho 2020.
    """
    classes = np.unique(labels)
    if len(classes) < 2 or len(features) <= len(classes):
        return dict.fromkeys(("nc1", "nc2_norm", "nc2_angle", "nc3", "nc4"), float("nan"))
    member = (labels[:, None] == classes[None]).astype(float)
    means = member.T @ features / member.sum(axis=0)[:, None]
    centred = means - means.mean(axis=0)
    if coincide(means):
        return dict.fromkeys(("nc1", "nc2_norm", "nc2_angle", "nc3", "nc4"), float("nan"))
    inner = features - member @ means
    # With Sigma_B = M^T M / C, tr(Sigma_W pinv(Sigma_B)) = C mean_i |pinv(M)^T x_i|^2, so nothing d x d is formed.
    projected = inner @ np.linalg.pinv(centred, rcond=1e-10)
    nc1 = float((projected**2).sum(axis=1).mean())
    norms = np.linalg.norm(centred, axis=1)
    cosine = (centred @ centred.T) / np.maximum(np.outer(norms, norms), 1e-300)
    off = ~np.eye(len(classes), dtype=bool)
    own = weight[classes] - (weight[classes].mean(axis=0) if len(classes) == len(weight) else 0)
    aligned = own / np.linalg.norm(own) - centred / np.linalg.norm(centred)
    nearest = classes[np.argmin(_squared_distances(features, means), axis=1)]
    return {
        "nc1": nc1,
        "nc2_norm": float(norms.std() / norms.mean()),
        "nc2_angle": float(np.abs(cosine[off] + 1 / (len(classes) - 1)).mean()),
        "nc3": float((aligned**2).sum()),
        "nc4": float((nearest != predictions).mean()),
    }


def coincide(means: np.ndarray) -> bool:
    """Whether all of `means` (C, d) are one point up to rounding: nothing then lies between classes."""
    return bool(np.abs(means - means.mean(axis=0)).max(initial=0.0) <= 1e-12 * np.abs(means).max(initial=0.0))


def last_linear(network: Network) -> torch.nn.Linear | None:
    """The `nn.Linear` whose output is the network's output, or None. Raises InputError without an example."""
    results: list[tuple[torch.nn.Linear, torch.Tensor]] = []

    def keep(module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        assert isinstance(module, torch.nn.Linear)
        results.append((module, output))

    handles = [m.register_forward_hook(keep) for m in network.model.modules() if isinstance(m, torch.nn.Linear)]
    example = network.example
    if example is None:
        raise InputError(
            f"network {network.name!r}",
            found="no example input",
            expected="one, on which the last layer is found",
            remedy="give one: Network(model, example)",
        )
    try:
        with torch.no_grad():
            output = network.forward(example)
    finally:
        for handle in handles:
            handle.remove()
    return next((m for m, r in reversed(results) if r.shape == output.shape and torch.equal(r, output)), None)


def penultimate(
    network: Network, head: torch.nn.Linear, inputs: torch.Tensor, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The head's input by a pre-hook on the head itself, `(n, d)` float64, and the network's predictions `(n,)`."""
    kept: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _m, args: kept.append(args[0].detach().flatten(1).double().cpu()))
    predictions = []
    try:
        with torch.no_grad():
            for start in range(0, len(inputs), batch_size):
                scores = network.forward(network.place(inputs[start : start + batch_size]))
                predictions.append(scores.argmax(dim=1).cpu())
    finally:
        handle.remove()
    return torch.cat(kept).numpy(), torch.cat(predictions).numpy()


def _squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return (points**2).sum(1)[:, None] - 2 * points @ centres.T + (centres**2).sum(1)[None]
