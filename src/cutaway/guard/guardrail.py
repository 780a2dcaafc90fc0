"""`Guardrail`: a scikit-learn estimator from prompts to verdicts.

Prompts -> features of a language model -> detector -> threshold at the false-positive rate that the user named. Fitting
splits the rows (stratified, after repeats are taken out): the detector learns on one part, the threshold is
calibrated on the other, so that the rate holds for rows that the detector has not seen. A prompt that is longer than
the model reads has several windows: the worst decides, in calibration as in use; learning takes the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from cutaway.errors import InputError
from cutaway.guard.detector import Detector, fit_detector
from cutaway.guard.features import FeatureRows, PromptFeatures
from cutaway.guard.rows import PromptRows, from_lists, prompt_fingerprint
from cutaway.guard.threshold import Threshold, calibrate
from cutaway.network.packaged import ENCODER
from cutaway.network.sources import LoadedModel, load_model


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVerdict:
    """`score` is the logit, `probability` its logistic value; `harmful` whether the score is above the threshold;
    `truncated` whether its `tokens` did not fit into one window; of the `windows` that were read (those of a second
    reading, without leetspeak, among them) the worst counts."""

    harmful: bool
    score: float
    probability: float
    threshold: float
    truncated: bool
    tokens: int
    windows: int = 1


class Guardrail(ClassifierMixin, BaseEstimator):
    """Fit with `fit(prompts, labels)`, labels 0 (harmless) or 1 (harmful); `predict`, `predict_proba`,
    `decision_function` (logits) and `verdicts` then read any prompts.

    model : what `cutaway.network.sources.load_model` takes, or a LoadedModel with a tokenizer; by default the sentence
        encoder of the extra `encoder`.
    features : sentence, geometry, hidden or both; by default sentence for a sentence encoder and both for other models.
    layers : use the first k MLP blocks only (early exit).
    head : logistic, mlp, or a scikit-learn classifier.
    rate : the false-positive rate to calibrate for.
    calibration : share of rows kept for the threshold.
    strength : inverse of the L2 penalty on z; by default .1, and for D sentence features 1/D (1 on unit vectors).
    plain : whether prompts are normalised before they are read (`normal`); guardrails of version 0.1 did not.

    After fitting:
    detector_, threshold_, classes_ : what decides.
    notes_ : what was left out.
    train_rows_, calibration_rows_ : numbers of the rows used for each.
    seen_ : fingerprints of all rows used.
    train_harmful_, held_harmful_ : standardised features z of the harmful rows, for certificates.
    """

    def __init__(
        self,
        model: str | LoadedModel = ENCODER,
        *,
        features: str | None = None,
        layers: int | None = None,
        head: Any = "logistic",
        rate: float = 0.05,
        calibration: float = 0.3,
        strength: float | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
        seed: int = 0,
        device: str = "cpu",
        plain: bool = True,
    ) -> None:
        self.model, self.features, self.layers, self.head = model, features, layers, head
        self.rate, self.calibration, self.strength = rate, calibration, strength
        self.max_length, self.batch_size, self.seed, self.device = max_length, batch_size, seed, device
        self.plain = plain

    def fit(self, X: Sequence[str] | PromptRows, y: Any = None) -> Guardrail:
        """Learn from prompts and labels. Raises InputError for one class only, unusable prompts, too few rows."""
        rows = X if isinstance(X, PromptRows) else from_lists(list(X), np.asarray(y), name="training rows")
        rows = rows.both_classes().deduplicated()
        learn, check = self._split(rows.labels)
        return self._fitted(rows, self._features()(rows.texts), learn, check)

    def _fitted(self, rows: PromptRows, read: FeatureRows, learn: np.ndarray, check: np.ndarray) -> Guardrail:
        first = read.values[read.first]
        self.detector_: Detector = fit_detector(
            first[learn],
            rows.labels[learn],
            head=self.head,
            strength=self.penalty(),
            seed=self.seed,
            together=self.kind() == "sentence",
        )
        logits = self.detector_.logits(read.values)
        worst = read.worst(logits)
        self.threshold_: Threshold = calibrate(logits[worst[check]][rows.labels[check] == 0], self.rate)
        self.classes_ = np.array([0, 1])
        few = self.threshold_.warning()
        self.notes_ = (*rows.notes, *read.notes(), *([few] if few else []))
        self.train_rows_, self.calibration_rows_ = len(learn), len(check)
        self.seen_ = tuple(sorted(prompt_fingerprint(t, plain=self.plain) for t in rows.texts))
        self.train_harmful_ = self.detector_.standardised(first)[learn][rows.labels[learn] == 1]
        z = self.detector_.standardised(read.values[worst])
        self.held_harmful_ = z[check][rows.labels[check] == 1]
        return self

    def _split(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.model_selection import train_test_split

        if np.bincount(labels, minlength=2).min() < 4:
            raise InputError(
                "the training rows",
                found=f"{np.bincount(labels, minlength=2).tolist()} harmless and harmful rows",
                expected="at least 4 of each",
                remedy="give more rows of the rarer kind",
            )
        train, calibration = train_test_split(
            np.arange(len(labels)), test_size=self.calibration, stratify=labels, random_state=self.seed % 2**32
        )
        return np.asarray(train), np.asarray(calibration)

    def kind(self) -> str:
        """The features that are read: those named, else sentence for a sentence encoder and both for other models."""
        return self.features or ("both" if self.loaded().sentence is None else "sentence")

    def pooling(self) -> str:
        """How sentence vectors are made of token states: as the model's folder says, else their mean."""
        form = self.loaded().sentence
        return "mean" if form is None else form.pooling

    def penalty(self) -> float:
        """The inverse of the L2 penalty: the strength named, else what fits the features."""
        if self.strength is not None:
            return self.strength
        return 1 / self._features().dimension if self.kind() == "sentence" else 0.1

    def loaded(self) -> LoadedModel:
        """The language model with its tokenizer, loaded once."""
        if not hasattr(self, "_loaded"):
            given = self.model
            self._loaded = given if isinstance(given, LoadedModel) else load_model(given, device=self.device)
        return self._loaded

    def _features(self) -> PromptFeatures:
        if not hasattr(self, "_reader"):
            loaded, kind = self.loaded(), self.kind()
            longest = loaded.sentence.longest if loaded.sentence is not None and kind == "sentence" else None
            self._reader = PromptFeatures(
                loaded.model,
                loaded.tokenizer,
                kind=kind,
                layers=self.layers,
                batch_size=self.batch_size,
                max_length=self.max_length or longest,
                plain=self.plain,
                pooling=self.pooling(),
            )
        return self._reader

    def transform(self, X: Sequence[str]) -> np.ndarray:
        """The features of prompts, (n, p); of a long one those of its worst window."""
        values, _, _ = self._read(X)
        return values

    def decision_function(self, X: Sequence[str]) -> np.ndarray:
        """Logits (n,); above `threshold_.logit` means flagged."""
        _, logits, _ = self._read(X)
        return logits

    def _read(self, X: Sequence[str]) -> tuple[np.ndarray, np.ndarray, FeatureRows]:
        """(features (n, p), logits (n,)) of the worst window of every prompt, and all windows."""
        read = self._features()(X)
        logits = self.detector_.logits(read.values)
        worst = read.worst(logits)
        return read.values[worst], logits[worst], read

    def predict_proba(self, X: Sequence[str]) -> np.ndarray:
        """(n, 2): probability of harmless and harmful under balanced classes."""
        p = _logistic(self.decision_function(X))
        return np.stack([1 - p, p], axis=1)

    def predict(self, X: Sequence[str]) -> np.ndarray:
        """1 where flagged, else 0. Shape (n,), int64, one a prompt."""
        return (self.decision_function(X) > self.threshold_.logit).astype(np.int64)

    def verdicts(self, X: Sequence[str]) -> list[PromptVerdict]:
        """A verdict for every prompt."""
        _, logits, read = self._read(X)
        return [
            PromptVerdict(
                harmful=bool(s > self.threshold_.logit),
                score=float(s),
                probability=float(_logistic(s)),
                threshold=self.threshold_.logit,
                truncated=bool(cut),
                tokens=int(n),
                windows=int(w),
            )
            for s, w, n, cut in zip(logits, read.windows, read.tokens, read.truncated, strict=True)
        ]


def _logistic(x):
    from scipy.special import expit

    return expit(x)
