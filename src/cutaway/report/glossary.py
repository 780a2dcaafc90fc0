"""What the terms of a report mean, each in one sentence: shown where the term first stands, and listed at its end."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

GLOSSARY = {
    "null": "What the same measurement gives where there is nothing to find, drawn many times; which kind it is "
    "stands beside each number. A figure that the null also shows is no finding.",
    "q-value": "The share of false alarms to expect among all figures called different at this level or below "
    "(Benjamini and Hochberg 1995); 0.1 or less counts as told apart.",
    "p-value": "How often the null gives a figure at least this extreme.",
    "told apart": "Different from the null at a false-discovery rate of 0.1 over all figures of the scan.",
    "95 % interval": "Would the samples be drawn anew, about 95 of 100 such intervals would hold the true value.",
    "calibration error": "How far stated confidence lies from the share of right answers, on average; 0 is perfect.",
    "confidence": "The probability that the network gives to the class it names.",
    "log loss": "Mean negative logarithm of the probability given to the right class, in nats; smaller is better.",
    "affine region": "A piece of input space on which the network is one affine map; a ReLU network is made of them.",
    "boundary": "Where two affine regions meet: some neuron changes its state there.",
    "site": "One call of a nonlinearity or pooling layer, where a network bends.",
    "piecewise affine": "Made of finitely many pieces on each of which the network is an affine map.",
    "local complexity": "Neurons whose boundary passes through a small neighbourhood of a sample.",
    "effective radius": "The distance at which a neuron's boundary is noticed about half the time.",
    "dead neuron": "A neuron that never fires on the samples.",
    "attack": "A search for the smallest change of an input that the network then gets wrong.",
    "right under attack": "Classified right, and no change within the radius was found that breaks it: an upper bound "
    "on robustness, since a stronger search may break more.",
    "l∞": "The largest change of any single input value.",
    "l2": "The Euclidean length of a change.",
    "neural collapse": "Late in training the features of a class fall together and class means spread evenly.",
    "LoFi": "Low-degree features: directions in a layer's input on which the label depends to low polynomial order.",
    "noise edge": "The size that the strongest direction reaches when labels are permuted.",
    "intrinsic dimension": "How many earlier tokens a token's attention really mixes, above a threshold.",
    "AUROC": "The chance that a positive case is scored above a negative one; 0.5 is guessing.",
    "exact": "Computed without approximation, up to rounding.",
    "estimate": "Measured on a sample; quote it with its interval.",
    "bound": "True on one side only.",
    "certified": "Proved for every point of a region.",
}


def marked(text: str, seen: set[str] | None = None) -> Markup:
    """`text` as HTML, the first mention of each term carrying its definition; `seen` remembers terms across texts."""
    seen = set() if seen is None else seen

    def wrap(match: re.Match[str]) -> str:
        term = _term(match)
        if term in seen:
            return match[0]
        seen.add(term)
        return f'<dfn tabindex="0" data-means="{escape(GLOSSARY[term])}">{match[0]}</dfn>'

    return Markup(_TERMS.sub(wrap, str(escape(text.replace("`", "")))))


def used(texts: str) -> dict[str, str]:
    """The glossary's entries whose term occurs in `texts`, in alphabetical order."""
    terms = {_term(match) for match in _TERMS.finditer(texts)}
    return {term: GLOSSARY[term] for term in sorted(terms, key=str.lower)}


def _term(match: re.Match[str]) -> str:
    """The entry that a mention means, in the plural or not."""
    said = match[0].lower()
    return _NAMES.get(said) or _NAMES[said.removesuffix("s")]


_NAMES = {str(escape(term)).lower(): term for term in GLOSSARY}
_TERMS = re.compile(
    r"(?<![\w-])(?:" + "|".join(re.escape(n) for n in sorted(_NAMES, key=len, reverse=True)) + r")s?(?![\w-])", re.I
)
