"""`cutaway guard serve FOLDER`: a guardrail over HTTP."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._options import LanguageModel

app = new_app("guard serve")


@app.default
def serve(
    folder: Path,
    *,
    certificate: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 0,
    keys: Path | None = None,
    decisions: Path | None = None,
    log_prompts: bool = False,
    explain: bool = False,
    language: LanguageModel = LanguageModel(),
    max_chars: int = 100_000,
    max_prompts: int = 64,
    max_pieces: int = 4096,
    queue: int = 512,
    sockets: int = 4096,
    stop_seconds: float = 75.0,
) -> Outcome:
    """Serve the guardrail in FOLDER over HTTP until stopped.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    certificate
        A certificate; by default certificate.json in the folder if there. One for another model or detector is refused.
    host
        Address to listen on.
    port
        Port to listen on.
    workers
        Processes that compute; 0 computes in the server itself.
    keys
        A file with one API key a line, read again when it changes; CUTAWAY_GUARD_KEY holds one more.
    decisions
        A file for one JSON line a decision, without the prompt.
    log_prompts
        Write prompts into the log (never by default).
    explain
        Answer /v1/explain, and show on the page, the training prompts nearest to a prompt: clients then see them.
    max_chars
        Longest prompt in characters.
    max_prompts
        Most prompts in one request.
    max_pieces
        Most pieces of one stream.
    queue
        Most prompts waiting; beyond it, requests get 503.
    sockets
        Most connections that wait on their clients; beyond it, the one that waits longest is closed.
    stop_seconds
        How long a stop waits for what was accepted.
    """
    from cutaway.guard.service.run import serve as run
    from cutaway.guard.service.settings import ServiceSettings

    settings = ServiceSettings(
        max_chars=max_chars,
        max_prompts=max_prompts,
        max_pieces=max_pieces,
        queue=queue,
        workers=workers,
        log_prompts=log_prompts,
        explain=explain,
        sockets=sockets,
        stop_seconds=stop_seconds,
    )
    run(
        folder,
        certificate=certificate,
        host=host,
        port=port,
        settings=settings,
        model=language.model,
        device=language.device,
        keys=keys,
        decisions=decisions,
    )
    return Outcome(payload={"stopped": True}, words="stopped")
