"""Do a model's answers agree? Stories of the 260K-parameter model from CUTAWAY_DATA, drawn cold and warm; without it,
sentences put together at random.

python examples/do_the_answers_agree.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cutaway.audits import AnswerAudit
from cutaway.reproductions.semantic_isotropy import OPENINGS, told_stories
from cutaway.text.spread import answer_tfidf


def main(*, answers: int = 8, seed: int = 0) -> None:
    """The audit at two temperatures; nothing of it says that a story is true."""
    folder = Path(os.environ.get("CUTAWAY_DATA", "")) / "stories260k"
    prompts = [opening for opening in OPENINGS for _ in range(answers)]
    for temperature in (0.3, 1.2):
        if folder.is_dir():
            texts = told_stories(folder, temperature, answers, seed, length=40)
        else:
            rng = np.random.default_rng(seed)
            words = [f"{o} {w}".split() for o in OPENINGS for w in ("went home", "saw a cat", "was very sad")]
            texts = [
                " ".join(words[3 * k + rng.choice(3, p=[0.8, 0.1, 0.1] if temperature < 1 else [1 / 3] * 3)])
                for k in range(len(OPENINGS))
                for _ in range(answers)
            ]
        audit = AnswerAudit(draws=99)
        reading = audit.measure(answer_tfidf(texts), prompts, data=f"answers at temperature {temperature}")
        print(f"temperature {temperature}: {audit.verdict(reading)}")
        print("\n".join(audit.describe(reading)))


if __name__ == "__main__":
    main()
