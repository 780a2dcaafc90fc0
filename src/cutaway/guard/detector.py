"""The detector behind the features: standardise, then a head that gives one logit; the head is a torch module.

z = (x - mean) / scale, logit = head(z), with mean and scale of the training rows (one scale for all coordinates of
sentence vectors). `logistic` is one linear layer
(scikit-learn's logistic regression, balanced classes), `mlp` one hidden ReLU layer (scikit-learn's MLPClassifier).
Both become plain numbers, float64, so that they can be saved without pickle and certified. Any other scikit-learn
classifier works in memory, but can be neither saved nor certified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from cutaway.errors import InputError

HEADS = ("logistic", "mlp")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detector:
    """mean, scale (p,); `head` an nn.Sequential of Linear and ReLU (p -> 1), or None when `classifier` is used."""

    mean: np.ndarray
    scale: np.ndarray
    head: nn.Sequential | None
    classifier: Any = None

    def standardised(self, features: np.ndarray) -> np.ndarray:
        """z (n, p)."""
        return (features - self.mean) / self.scale

    def logits(self, features: np.ndarray) -> np.ndarray:
        """One logit a row, (n,): above 0 the row is more likely harmful than not, under balanced classes."""
        z = self.standardised(np.asarray(features, dtype=np.float64))
        if self.head is not None:
            with torch.no_grad():
                return self.head(torch.from_numpy(z)).squeeze(1).numpy()
        if hasattr(self.classifier, "decision_function"):
            return np.asarray(self.classifier.decision_function(z), dtype=float)
        odds = np.clip(self.classifier.predict_proba(z)[:, 1], 1e-12, 1 - 1e-12)
        return np.log(odds / (1 - odds))

    def linear(self) -> tuple[np.ndarray, float]:
        """(w, b) of a linear head on z; InputError for any other head."""
        if self.head is None or len(self.head) != 1:
            found = "another classifier" if self.head is None else f"{len(self.head)} layers"
            raise InputError(
                "the detector's head",
                found=found,
                expected="one linear layer",
                remedy="fit with head='logistic'",
            )
        layer = self.head[0]
        assert isinstance(layer, nn.Linear)
        return layer.weight.detach().numpy()[0], float(layer.bias.detach()[0])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything it is made of, by name; InputError for a classifier that is not made of plain numbers."""
        if self.head is None:
            raise InputError(
                "the detector",
                found=type(self.classifier).__name__,
                expected="a head made of plain numbers",
                remedy="use head='logistic' or head='mlp' to save or certify",
            )
        found = {"mean": torch.from_numpy(self.mean), "scale": torch.from_numpy(self.scale)}
        for i, layer in enumerate(m for m in self.head if isinstance(m, nn.Linear)):
            found[f"weight.{i}"], found[f"bias.{i}"] = layer.weight.detach(), layer.bias.detach()
        return {k: v.contiguous() for k, v in found.items()}


def from_tensors(tensors: dict[str, torch.Tensor]) -> Detector:
    """The detector that `tensors` came from."""
    count = sum(name.startswith("weight.") for name in tensors)
    pairs = [(tensors[f"weight.{i}"].numpy(), tensors[f"bias.{i}"].numpy()) for i in range(count)]
    return Detector(mean=tensors["mean"].numpy(), scale=tensors["scale"].numpy(), head=make_head(pairs))


def make_head(pairs: list[tuple[np.ndarray, np.ndarray]]) -> nn.Sequential:
    """Linear layers (out, in), (out,) with ReLU between them, float64, without gradients."""
    modules: list[nn.Module] = []
    for weight, bias in pairs:
        layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.array(weight)))
            layer.bias.copy_(torch.from_numpy(np.array(bias)))
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1]).eval().requires_grad_(False)


def fit_detector(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    head: Any = "logistic",
    strength: float = 0.1,
    hidden: int = 32,
    seed: int = 0,
    together: bool = False,
) -> Detector:
    """Train a detector on features (n, p), labels (n,) of 0 and 1. `strength` is the inverse of the L2 penalty.

    A constant feature gets scale 1. `together`: one scale for all features, the root of their mean variance; for
    vectors whose coordinates mean something only together. Raises InputError for features that are not finite or an
    unknown head.
    """
    features = np.asarray(features, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(features))
    if len(bad):
        raise InputError(
            f"feature {bad[0][1]} of row {bad[0][0] + 1}",
            found="NaN or infinity",
            expected="a number",
            remedy="remove or mend this row",
        )
    mean, spread = features.mean(0), features.std(0)
    if together:
        spread = np.full_like(spread, np.sqrt(np.mean(spread**2)))
    scale = np.where(spread > 1e-12 * (1 + np.abs(mean)), spread, 1.0)
    z = (features - mean) / scale
    if isinstance(head, str) and head not in HEADS:
        raise InputError(
            "head",
            found=repr(head),
            expected="one of " + ", ".join(HEADS) + ", or a classifier",
            remedy="give one of these",
        )
    if head == "logistic":
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000).fit(z, labels)
        return Detector(mean=mean, scale=scale, head=make_head([(fitted.coef_, fitted.intercept_)]))
    if head == "mlp":
        return Detector(mean=mean, scale=scale, head=_mlp(z, labels, strength, hidden, seed))
    return Detector(mean=mean, scale=scale, head=None, classifier=head.fit(z, labels))


def _mlp(z: np.ndarray, labels: np.ndarray, strength: float, hidden: int, seed: int) -> nn.Sequential:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    fitted = MLPClassifier((hidden,), alpha=1 / (strength * len(z)) * 10, max_iter=150, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 150 epochs are the recipe, not a failure
        fitted.fit(z, labels)
    return make_head([(w.T, b) for w, b in zip(fitted.coefs_, fitted.intercepts_, strict=True)])
