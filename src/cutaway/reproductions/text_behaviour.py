"""How a small language model behaves: typicality of texts, accuracy by temperature, what draws win and hide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from cutaway.reproductions.row import Row, held

TITLE = "Typicality, temperature, pass@k and hidden risk of a 260,000-parameter language model"
SOURCE = "Meister et al. 2023, arXiv 2202.00666; Chen et al. 2021, arXiv 2107.03374"
ANSWER, K = 8, 10


def reproduce(*, short: bool, seed: int = 0, progress: Callable[[str], None] = print) -> list[Row]:
    """stories260K: 200 texts of each kind (short: 60); fine-tuned on 100 rows (short: 60) eight times."""
    from cutaway.reproductions._stories import stories

    found = stories()
    if found is None:
        return [Row(quantity="stories260K on instructions", ours="left out: set CUTAWAY_DATA", verdict="not run")]
    return [
        *typicality(found, 60 if short else 200, seed, progress),
        *answers(found, 60 if short else 100, seed, progress),
        *formats(found, 300 if short else 2000, progress),
    ]


def typicality(found, count: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """Surprisal less entropy, mean over tokens: 0 for the model's own texts, below it for what a decoding cuts."""
    from cutaway.network import Network
    from cutaway.text import Decoding, sample_tokens, score_tokens

    network, start = Network(found.model, found.rows[:2]), torch.full((count, 1), 1)
    texts = {"people's instructions": found.rows[:count]}
    decodings = {"own texts": Decoding(), "nucleus .9": Decoding(top_p=0.9), "greedy": Decoding(temperature=0)}
    for name, decoding in decodings.items():
        generator = torch.Generator().manual_seed(seed)
        texts[name] = sample_tokens(network, start, 64, generator=generator, decoding=decoding)
    rows, means, off = [], {}, 0.0
    for name, tokens in texts.items():
        surplus = score_tokens(network, tokens).surplus
        means[name] = float(surplus.mean())
        if name == "own texts":
            by_row = surplus.mean(axis=1)
            off = means[name] / float(by_row.std(ddof=1) / len(by_row) ** 0.5)
        told, words = f"{means[name]:+.3f} ({surplus.std():.2f})", f"surprisal less entropy of {name}, mean (sd) [nats]"
        rows.append(Row(quantity=words, ours=told, verdict="report"))
    progress(", ".join(f"{name} {value:+.3f}" for name, value in means.items()))
    ordered = means["greedy"] < means["nucleus .9"] < means["own texts"] < means["people's instructions"]
    told = "greedy < nucleus < own < people" if ordered else "another order"
    return [
        *rows,
        held("own texts: mean over its standard error", 0.0, "theory", off, "within 3.5", abs(off) <= 3.5),
        held("order of the means", "cut texts below 0", "published", told, "as expected", ordered),
    ]


def answers(found, count: int, seed: int, progress: Callable[[str], None]) -> list[Row]:
    """The last tokens of rows that it was trained on: accuracy by temperature, pass@k against draws, hidden risk."""
    from cutaway.data import Dataset
    from cutaway.instruments import AnswerSampling
    from cutaway.network import Network
    from cutaway.reproductions._stories import fine_tuned
    from cutaway.text import pass_at_k, sample_tokens

    rng = np.random.default_rng(seed)
    rows = found.rows[torch.as_tensor(rng.permutation(len(found.rows))[:count])]
    planted = rows.repeat(8, 1)
    model = fine_tuned(found.model, planted, rng.permutation(len(planted)))
    reading = AnswerSampling(answer=ANSWER, k=K).measure(model, Dataset(name="planted rows", inputs=rows))
    curve, grid = reading.values["accuracy"].values, reading.values["temperature"].values
    asked, samples = rows[:20], 40
    question, generator = asked[:, :-ANSWER].repeat_interleave(samples, dim=0), torch.Generator().manual_seed(seed)
    drawn = sample_tokens(Network(model, rows[:2]), question, rows.shape[1], generator=generator)
    hits = (drawn == asked.repeat_interleave(samples, dim=0)).all(dim=1).reshape(-1, samples).sum(dim=1).numpy()
    estimate, exact = pass_at_k(samples, hits, K), 1 - (1 - reading.values["sampled"].values[:20]) ** K
    off = float((estimate - exact).mean() / max(1e-12, (estimate - exact).std(ddof=1) / 20**0.5))
    figures = {name: reading.figure(name).value for name in ("greedy", "sampled", "pass_at_k", "hidden_risk")}
    progress(", ".join(f"{name} {value:.3f}" for name, value in figures.items()))
    falls = bool((np.diff(curve) <= 0.02).all())
    drop = next((f.value for f in reading.figures if f.name == "drop_temperature"), float("nan"))
    told = ", ".join(f"{t:g}: {value:.2f}" for t, value in zip(grid, curve))
    words = f"pass@{K} of {samples} draws less the exact one, over its standard error"
    return [
        Row(quantity=f"accuracy of the last {ANSWER} tokens by temperature", ours=told, verdict="report"),
        held(
            "accuracy by temperature", "falls", "published", "falls" if falls else "rises", "no rise above .02", falls
        ),
        Row(quantity="temperature from which it is below the greedy one", ours=drop, verdict="report"),
        *(Row(quantity=f"{name} (k = {K})", ours=value, verdict="report") for name, value in figures.items()),
        held(words, 0.0, "theory", off, "within 3.5", abs(off) <= 3.5),
    ]


def formats(found, count: int, progress: Callable[[str], None]) -> list[Row]:
    """The greedy last token of instructions asked in three formats: with 32, 24 and 16 tokens of what stands before."""
    from cutaway.network import Network
    from cutaway.text import answer_probabilities, evaluation_stability

    rows = found.rows[:count]
    cuts = [torch.cat([rows[:, :1], rows[:, -kept:]], dim=1) for kept in (32, 24, 16)]
    scores = np.stack([answer_probabilities(Network(found.model, c[:2]), c, 1, (0.0,))[:, 0] for c in cuts])
    asked = evaluation_stability(scores)
    told = ", ".join(f"{value:.3f}" for value in scores.mean(axis=1))
    progress(f"accuracy by format {told}; item's share {asked.shares.row:.2f}, flips {asked.flips:.3f}")
    shares = f"{asked.shares.row:.2f} ({asked.low:.2f} to {asked.high:.2f}), {asked.flips:.3f}"
    words = "share of the variance due to the item (interval), pairs of formats that disagree"
    return [
        Row(quantity="accuracy of the last token with 32, 24, 16 tokens before", ours=told, verdict="report"),
        Row(quantity=words, ours=shares, verdict="report"),
    ]
