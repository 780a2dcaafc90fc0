"""`cutaway guard seal FOLDER`: a guardrail checked and written again, sealed."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app

app = new_app("guard seal")


@app.default
def seal(folder: Path, *, model: str | None = None, device: str = "cpu") -> Outcome:
    """Check the guardrail in FOLDER, of this or an older format, and write it again in this one, sealed; signed where
    CUTAWAY_KEY holds a key. Its certificate becomes certificate.old.json.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    model
        Where the language model is now, if it has moved.
    device
        cpu, cuda, ...
    """
    from cutaway.guard.folder import reseal

    path = reseal(folder, model=model, device=device)
    words = f"guardrail: {path}\ncertify it: cutaway guard certify {path}"
    return Outcome(payload={"folder": str(path)}, words=words)
