"""What a guardrail has to beat, trained on the same rows: TF-IDF, the mean hidden state, an untrained twin.

`tf-idf`: word uni- and bigrams with logistic regression. `hidden`: the mean hidden state alone. `random-network`: the
guardrail's own features from a network of the same shape with untrained weights (the dead-salmon null). All use the
detector, the penalty and the calibration of the guardrail, so only the features differ.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from cutaway import seeds
from cutaway.guard.evaluation import Evaluation, evaluate_scores
from cutaway.guard.guardrail import Guardrail
from cutaway.guard.rows import PromptRows
from cutaway.guard.threshold import calibrate
from cutaway.network.twin import untrained

DETECTORS = ("geometry", "hidden", "both", "random-network", "tf-idf")
SENTENCE_DETECTORS = ("sentence", "hidden", "random-network", "tf-idf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`evaluations` by detector, all on the same held-out rows; `scores` (n,) by detector on `rows`."""

    evaluations: dict[str, Evaluation]
    scores: dict[str, np.ndarray]
    rows: PromptRows


def compare(
    guard: Guardrail, train: PromptRows, test: PromptRows, *, detectors: tuple[str, ...] = (), seed: int = 0
) -> Comparison:
    """Fit every detector on `train` and evaluate it on the rows of `test` that are not in `train`.

    `detectors`: by default `SENTENCE_DETECTORS` for a guardrail on sentence vectors, else `DETECTORS`.
    """
    detectors = detectors or (SENTENCE_DETECTORS if guard.kind() == "sentence" else DETECTORS)
    train = train.both_classes().deduplicated()
    seen = set(map(_key, train.texts))
    test = test.deduplicated().without(seen, "in the fitting data")
    evaluations, scores = {}, {}
    for name in detectors:
        found, threshold = _tf_idf(guard, train, test) if name == "tf-idf" else _read(name, guard, train, test)
        scores[name] = found
        evaluations[name] = evaluate_scores(found, test, threshold, seed=seed)
    return Comparison(evaluations=evaluations, scores=scores, rows=test)


def _key(text: str) -> str:
    from cutaway.guard.rows import prompt_fingerprint

    return prompt_fingerprint(text)


def _read(name: str, guard: Guardrail, train: PromptRows, test: PromptRows) -> tuple[np.ndarray, float]:
    kind = guard.kind() if name == "random-network" else name
    twin: Any = clone(guard)
    made = twin.set_params(features=kind, strength=guard.strength if kind == guard.kind() else None)
    loaded = guard.loaded()
    if name == "random-network":
        loaded = dataclasses.replace(loaded, model=untrained(loaded.model, seeds.number(guard.seed, "untrained"))[0])
    made.set_params(model=loaded)
    made.fit(train)
    return made.decision_function(test.texts), made.threshold_.logit


def _tf_idf(guard: Guardrail, train: PromptRows, test: PromptRows) -> tuple[np.ndarray, float]:
    learn, check = guard._split(train.labels)
    texts = np.array(train.texts, dtype=object)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1)
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000)
    model.fit(words.fit_transform(texts[learn]), train.labels[learn])
    harmless = texts[check][train.labels[check] == 0]
    threshold = calibrate(model.decision_function(words.transform(harmless)), guard.rate)
    return model.decision_function(words.transform(test.texts)), threshold.logit
