"""Does a model that can do a task do it less well where task, answer or question are rare? McCoy et al. 2023 (arXiv
2309.13638), on a small transformer that deciphers words.

Words are drawn letter after letter from a chain with preferences; a question is a shift and the word moved along the
alphabet by it, and some shifts are seen far more often than others. Each answer follows from its question by one rule,
so probabilities need not matter. Whether a greedy answer is right is then regressed on three of them, on words from
the chain, from a flatter one and from none, under all shifts alike.

What came out: while it is learning, rare shifts and rare answers are got wrong more often; the probability of the
question tells nothing that holds from seed to seed. Trained three times as long it is always right, and no ember glows.

python examples/embers_of_autoregression.py
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from cutaway import Network
from cutaway.reading.intervals import bootstrap_interval
from cutaway.text import answer_probabilities
from cutaway.training.transformers import char_gpt

LETTERS, LENGTH = 10, 4


class Words:
    """Words (n, LENGTH) of a Markov chain: `starts` and `following` are logits of the first letter and of each next."""

    def __init__(self, generator: torch.Generator) -> None:
        self.starts = torch.randn(LETTERS, generator=generator, dtype=torch.float64)
        self.following = 1.5 * torch.randn((LETTERS, LETTERS), generator=generator, dtype=torch.float64)

    def draw(self, count: int, generator: torch.Generator, temperature: float = 1.0) -> torch.Tensor:
        chances = (self.starts / temperature).softmax(0).expand(count, -1)
        letters = [torch.multinomial(chances, 1, generator=generator)[:, 0]]
        while len(letters) < LENGTH:
            chances = (self.following[letters[-1]] / temperature).softmax(1)
            letters.append(torch.multinomial(chances, 1, generator=generator)[:, 0])
        return torch.stack(letters, dim=1)

    def log_probability(self, words: torch.Tensor) -> torch.Tensor:
        steps = self.following.log_softmax(1)[words[:, :-1], words[:, 1:]].sum(1)
        return self.starts.log_softmax(0)[words[:, 0]] + steps


def asked(words: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Rows of tokens: the shift (behind the letters), the word moved by it, the word."""
    return torch.cat([LETTERS + shifts[:, None], (words + shifts[:, None]) % LETTERS, words], dim=1)


def trained(source: Words, often: torch.Tensor, steps: int, seed: int) -> torch.nn.Module:
    """A transformer after `steps` steps on words of the `source`, shifts drawn as `often` as that."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = char_gpt((1 + 2 * LENGTH,), 2 * LETTERS, width=48, depth=2)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        shifts = 1 + torch.multinomial(often, 128, replacement=True, generator=generator)
        rows = asked(source.draw(128, generator), shifts)
        logits = model(rows[:, :-1])[:, LENGTH:]  # of the answer
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, LENGTH + 1 :].flatten()).backward()
        optimiser.step()
    return model.eval()


def main(*, steps: int = 200, rows: int = 3000, seed: int = 0) -> dict[str, tuple[float, float, float]]:
    """Print the three coefficients with their intervals, and return them."""
    generator = torch.Generator().manual_seed(seed)
    source, ranks = Words(generator), 1 + torch.randperm(LETTERS - 1, generator=generator)
    often = (1 / ranks.double()) / (1 / ranks.double()).sum()  # of the shifts 1, 2, ...
    model = trained(source, often, steps, seed)
    words = torch.cat([source.draw(rows // 3, generator, heat) for heat in (1.0, 2.0, 1e6)])
    shifts = torch.randint(1, LETTERS, (len(words),), generator=generator)
    questions = asked(words, shifts)
    right = answer_probabilities(Network(model, questions[:2]), questions, LENGTH, (0.0,))[:, 0] > 0.5
    print(f"after {steps} steps {right.mean():.0%} of the greedy answers are right")
    if right.all() or not right.any():
        print("nothing differs from row to row: take other steps")
        return {}
    names = ("log p(task)", "log p(answer)", "log p(question)")
    logs = [often.log()[shifts - 1], *map(source.log_probability, (words, questions[:, 1 : 1 + LENGTH]))]
    table = torch.stack(logs, dim=1).numpy()
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    print("correlations of the three: " + ", ".join(f"{c:.2f}" for c in np.corrcoef(table.T)[np.triu_indices(3, 1)]))

    def coefficients(chosen: np.ndarray) -> np.ndarray:
        if len(set(right[chosen].tolist())) < 2:
            return np.full(len(names), np.nan)
        return LogisticRegression(C=np.inf).fit(table[chosen], right[chosen]).coef_[0]

    found = {}
    for place, (name, value) in enumerate(zip(names, coefficients(np.arange(len(table))))):
        low, high = bootstrap_interval(lambda i, k=place: coefficients(i)[k], len(table), seed=seed, resamples=100)
        found[name] = (float(value), low, high)
        matters = "matters" if low > 0 or high < 0 else "does not show"
        print(f"{name}: {value:+.2f} a standard deviation, 95 % interval {low:+.2f} to {high:+.2f}: {matters}")
    return found


if __name__ == "__main__":
    main()
