"""`cutaway guard seal FOLDER`: a guardrail checked and written again, sealed."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._options import LanguageModel

app = new_app("guard seal")


@app.default
def seal(folder: Path, *, language: LanguageModel = LanguageModel()) -> Outcome:
    """Check the guardrail in FOLDER, of this or an older format, and write it again in this one, sealed; signed where
    CUTAWAY_KEY holds a key. Its certificate becomes certificate.old.json.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    """
    from cutaway.guard.folder import reseal

    path = reseal(folder, model=language.model, device=language.device)
    words = f"guardrail: {path}\ncertify it: cutaway guard certify {path}"
    return Outcome(payload={"folder": str(path)}, words=words)
