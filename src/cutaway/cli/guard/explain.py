"""`cutaway guard explain FOLDER TEXT`: the training prompts nearest to a prompt, with the tokens that match."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._options import LanguageModel
from cutaway.errors import InputError

app = new_app("guard explain")


@app.default
def explain(folder: Path, prompt: str, *, count: int = 5, language: LanguageModel = LanguageModel()) -> Outcome:
    """Show the verdict of the guardrail in FOLDER on a prompt, and the training prompts nearest to it.

    Nearest by MaxSim of the guardrail's own token vectors (which were not trained for it), and by words (TF-IDF).

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    prompt
        The prompt.
    count
        How many training prompts to show.
    """
    from cutaway.guard.evidence import Explainer
    from cutaway.guard.evidence_file import read_evidence

    if count < 1:
        raise InputError("option --count", found=str(count), expected="at least 1", remedy="leave it out for 5")
    guard = language.open(folder)
    found = Explainer(guard, read_evidence(folder, guard))(prompt, count=count)
    verdict = found["verdict"]
    lines = [f"{'HARMFUL ' if verdict['harmful'] else 'harmless'} {verdict['probability']:.4f}"]
    for title, part in (
        ("nearest by tokens (MaxSim)", found["evidence"]),
        ("nearest by words (TF-IDF)", found["by_words"]),
    ):
        lines.append(title)
        for near in part:
            lines.append(f"  {near['score']:.3f}  {near['label']:<8}  {' '.join(near['text'].split())[:90]}")
            pairs = sorted(near.get("tokens", ()), key=lambda m: -m["score"])[:6]
            if pairs:
                lines.append("         " + ", ".join(f"{m['token']} ~ {m['match']} {m['score']:.2f}" for m in pairs))
    if (told := found["agreement"]) is not None:
        lines.append(
            "of {rows} other prompts {agree} have the label of the nearest by tokens ({share:.2f}, 95 % {low:.2f} to "
            "{high:.2f}), {words} of the nearest by words; by chance {chance:.2f}".format(**told)
        )
    return Outcome(payload=found, words="\n".join(lines))
