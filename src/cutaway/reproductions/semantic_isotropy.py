"""Semantic isotropy follows the accuracy of answers where a model is unsure of what it does not know, and says nothing
where it is sure and wrong: answers on invented entities, and stories of a small language model by temperature."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cutaway.audits.answers import rank_correlation
from cutaway.reading.intervals import bootstrap_interval
from cutaway.reproductions.row import Row
from cutaway.text.spread import answer_tfidf, isotropy

SOURCE = "arXiv 2510.21891"
TITLE = "Semantic isotropy: do a model's own answers agree"

ENTITIES, ATTRIBUTES, VALUES = 150, 6, 12
COUNTS = (3, 5, 8, 20)
OPENINGS = ("Once upon a time", "Tom and his dog", "One day a little girl", "The big red ball", "Mom said")


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """150 invented entities with six attributes, known to a degree; the same answers, wrong; sampled stories (short:
    fewer)."""
    rows = [*exact_rows(), *entity_rows(seed, progress), confident_row(seed, progress)]
    return [*rows, *story_rows(3 if short else 5, seed, progress)]


def exact_rows() -> list[Row]:
    """Identical and orthogonal answers, eight of them."""
    rows = []
    for what, given, wanted in (("identical", np.ones((8, 5)), 0.0077), ("orthogonal", np.eye(8), 2.0805)):
        value = isotropy(given).value
        rows.append(
            Row(
                quantity=f"eight {what} answers",
                paper=wanted,
                reference="authors-code",
                ours=value,
                tolerance=1e-4,
                verdict="pass" if abs(value - wanted) <= 1e-4 else "fail",
            )
        )
    return rows


def facts(known: NDArray[np.float64], count: int, rng: np.random.Generator) -> tuple[list[str], NDArray[np.float64]]:
    """Answers, `count` an entity in order, and the share of right attributes in each entity's answers; an attribute is
    right with the chance `known` (entities,), else one of the other values."""
    truth = rng.integers(0, VALUES, (len(known), ATTRIBUTES))
    right = rng.random((len(known), count, ATTRIBUTES)) < known[:, None, None]
    wrong = (truth[:, None] + rng.integers(1, VALUES, right.shape)) % VALUES
    said = np.where(right, truth[:, None], wrong)
    texts = [_told(values) for entity in said for values in entity]
    return texts, right.mean(axis=(1, 2))


def _told(values: NDArray[np.int64]) -> str:
    words = ("born", "town", "work", "team", "song", "year")
    return "It is known that " + " and ".join(f"the {w} was {w}{v}" for w, v in zip(words, values))


def entity_rows(seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Rank correlation with the accuracy, by number of answers, beside the mean cosine."""
    rows = []
    for count in COUNTS:
        rng = np.random.default_rng([seed, count])
        texts, accuracy = facts(rng.random(ENTITIES), count, rng)
        parts = answer_tfidf(texts).reshape(ENTITIES, count, -1)
        found = [isotropy(part) for part in parts]
        score, cosine = (np.array([getattr(f, name) for f in found]) for name in ("value", "mean_cosine"))
        own, plain = rank_correlation(score, accuracy), rank_correlation(cosine, accuracy)
        low, high = bootstrap_interval(lambda i, s=score, a=accuracy: rank_correlation(s[i], a[i]), ENTITIES, seed=seed)
        shares = [np.corrcoef(v, accuracy)[0, 1] ** 2 for v in (score, cosine)]
        progress(f"{count} answers: isotropy {own:.3f} (R2 {shares[0]:.2f}), cosine {plain:.3f} (R2 {shares[1]:.2f})")
        if count == 8:
            rows.append(
                Row(
                    quantity="share of the accuracy's variance that isotropy explains, above the mean cosine's",
                    ours=float(shares[0] - shares[1]),
                    tolerance="shown: an earlier run of ours gained two to four points, here none are gained",
                    verdict="report",
                )
            )
        judged = count == 8
        verdict = "report" if not judged else "pass" if own <= -0.9 and -own >= plain - 0.01 else "fail"
        rows.append(
            Row(
                quantity=f"rank correlation of isotropy and accuracy, {count} answers an entity",
                paper="more isotropy, less accuracy",
                reference="published",
                ours=own,
                low=low,
                high=high,
                tolerance=f"{'at most -0.9, within 0.01 of the mean ' if judged else ''}cosine's {plain:.3f}",
                verdict=verdict,
            )
        )
    return rows


def confident_row(seed: int, progress: Callable[[str], None]) -> Row:
    """The same answers with the truth moved: as sure, all wrong."""
    rng = np.random.default_rng([seed, 0])
    texts, accuracy = facts(np.full(40, 0.85), 8, rng)
    moved = [text.translate(str.maketrans("0123456789", "1234567890")) for text in texts]
    both = answer_tfidf([*texts, *moved]).reshape(2, 40, 8, -1)
    right, wrong = (float(np.mean([isotropy(part).value for part in half])) for half in both)
    progress(f"sure and right (accuracy {accuracy.mean():.2f}): {right:.3f}; other words, all wrong: {wrong:.3f}")
    return Row(
        quantity=f"isotropy of answers that are sure and wrong (sure and right: {right:.3f})",
        ours=wrong,
        tolerance="within 0.05 of it: agreement is not truth",
        verdict="pass" if abs(wrong - right) <= 0.05 else "fail",
    )


def story_rows(answers: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Stories of a 260K-parameter model go on from five openings: colder decoding agrees more."""
    folder = Path(os.environ.get("CUTAWAY_DATA", "")) / "stories260k"
    if not os.environ.get("CUTAWAY_DATA") or not folder.is_dir():
        return [Row(quantity="stories260K", ours="left out: set CUTAWAY_DATA", verdict="not run")]
    found = {t: _stories(folder, t, 2 * answers, seed) for t in (0.3, 1.0)}
    cold, warm = (float(np.mean(found[t])) for t in (0.3, 1.0))
    progress(f"stories260K, isotropy at temperature 0.3: {cold:.3f}, at 1.0: {warm:.3f}")
    gap = np.subtract(found[1.0], found[0.3])
    low, high = bootstrap_interval(lambda i: float(gap[i].mean()), len(gap), seed=seed)
    return [
        Row(
            quantity="stories260K: isotropy at temperature 1.0 above that at 0.3",
            ours=float(gap.mean()),
            low=low,
            high=high,
            tolerance="above 0 beyond the interval",
            verdict="pass" if low > 0 else "fail",
        )
    ]


def told_stories(folder: Path, temperature: float, count: int, seed: int, length: int = 60) -> list[str]:
    """Continuations of the openings, `count` of each in order."""
    import torch

    from cutaway import seeds
    from cutaway.network import Network
    from cutaway.network.sources import load_model
    from cutaway.text import Decoding, sample_tokens

    loaded = load_model(folder)
    network, texts = Network(loaded.model, loaded.example), []
    draw = seeds.generator(seed, "stories", str(temperature))
    for opening in OPENINGS:
        given = torch.tensor([[1, *loaded.tokenizer(opening, add_special_tokens=False)["input_ids"]]] * count)
        rows = sample_tokens(network, given, length, generator=draw, decoding=Decoding(temperature=temperature))
        texts += [loaded.tokenizer.decode(row[given.shape[1] :]) for row in rows.tolist()]
    return texts


def _stories(folder: Path, temperature: float, count: int, seed: int) -> list[float]:
    texts = told_stories(folder, temperature, count, seed)
    return [isotropy(part).value for part in answer_tfidf(texts).reshape(len(OPENINGS), count, -1)]
