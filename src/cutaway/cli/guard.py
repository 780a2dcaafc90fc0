"""`cutaway guard fit | score | evaluate | certify | serve`: guardrails on language models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import check_picture
from cutaway.errors import InputError
from cutaway.seeds import check_seed

app = new_app("guard", "Guardrails on language models: fit, score, evaluate, certify, serve.")

Names = Annotated[list[str] | None, Parameter(consume_multiple=True)]

_MEANING = {  # of the status of a whole certificate
    "certified": "a certified region, the rows' own hull aside, holds held-out harmful rows",
    "falsified": "every region holds a point that is not flagged",
    "unknown": "no certified region holds a held-out harmful row",
}


@app.command
def fit(
    model: str,
    *,
    data: Annotated[list[Path], Parameter(consume_multiple=True)],
    out: Path,
    test: Path | None = None,
    text: str = "text",
    label: str = "label",
    source: str = "source",
    positive: Names = None,
    features: str = "both",
    layers: int | None = None,
    head: str = "logistic",
    fpr: float = 0.05,
    max_length: int | None = None,
    num: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Outcome:
    """Fit a guardrail for MODEL on labelled prompts, save it, and evaluate it on rows held out.

    Parameters
    ----------
    model
        A Hugging Face folder or id with its tokenizer.
    data
        One or more .csv, .jsonl or .parquet files.
    out
        Folder to write.
    test
        File to evaluate on; without it, a fifth of the rows is held out.
    text, label, source
        Names of the columns.
    positive
        Labels that count as harmful.
    features
        geometry, hidden or both.
    layers
        Use the first K blocks only.
    head
        logistic or mlp.
    fpr
        The false-positive rate that you can live with.
    max_length
        Tokens read of a prompt.
    num
        Use at most so many rows.
    seed
        Seed of everything random.
    device
        cpu, cuda, ...
    """
    from cutaway.guard import Guardrail, evaluate_guardrail, save_guardrail
    from cutaway.guard.ordinary import ordinary
    from cutaway.guard.rows import prompt_fingerprint

    check_seed(seed)
    if out.exists() and not out.is_dir():
        raise InputError(f"option --out {out}", found="a file", expected="a folder, or a name that is free")
    columns = {"text": text, "label": label, "source": source, "positive": positive}
    rows = _rows(data, columns, num, seed)
    if test is None:
        train, held = _hold_out(rows.both_classes().deduplicated(), seed)
    else:
        train = rows
        held = _rows([test], columns, None, seed).without(
            {prompt_fingerprint(t) for t in rows.texts}, "in the training data"
        )
    guard = Guardrail(
        model, features=features, layers=layers, head=head, rate=fpr, max_length=max_length, seed=seed, device=device
    ).fit(train)
    folder = save_guardrail(guard, out)
    found = evaluate_guardrail(guard, held, seed=seed)
    notes = list(dict.fromkeys((*guard.notes_, *found.notes)))
    payload = {"folder": str(folder), "train_rows": guard.train_rows_, "calibration_rows": guard.calibration_rows_}
    payload |= {**_evaluation(found, notes), "ordinary": ordinary(guard)}
    return Outcome(payload=payload, words=f"guardrail: {folder}\n{_table(payload)}\n{_ordinary(payload['ordinary'])}")


@app.command
def score(
    folder: Path,
    prompts: list[str] | None = None,
    *,
    file: Path | None = None,
    text: str = "text",
    model: str | None = None,
    device: str = "cpu",
) -> Outcome:
    """Score prompts with the guardrail in FOLDER.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    prompts
        Prompts on the command line.
    file
        A .csv, .jsonl or .parquet file with a column of prompts, or a .txt file with one prompt a line.
    text
        Name of that column.
    model
        Where the language model is now, if it has moved.
    device
        cpu, cuda, ...
    """
    import dataclasses

    from cutaway.guard import load_guardrail
    from cutaway.guard.rows import read_texts

    texts = list(prompts or []) + (read_texts(file, text) if file is not None else [])
    if not texts:
        raise InputError("command guard score", found="no prompt", expected="prompts, or --file")
    guard = load_guardrail(folder, model=model, device=device)
    verdicts = guard.verdicts(texts)
    scores = [dataclasses.asdict(v) for v in verdicts]
    words = [
        f"{'HARMFUL ' if v.harmful else 'harmless'} {v.probability:.4f}  #{i + 1}"
        + (f"  ({v.windows} windows)" if v.truncated else "")
        for i, v in enumerate(verdicts)
    ]
    cut = sum(v.truncated for v in verdicts)
    if cut:
        longest = max(v.tokens for v in verdicts)
        words.append(
            f"{cut} of {len(verdicts)} prompts are longer than the model reads (up to {longest} tokens): the worst of "
            "their windows counts"
        )
    payload = {"scores": scores, "threshold": guard.threshold_.logit, "truncated": cut}
    return Outcome(payload=payload, words="\n".join(words))


@app.command
def evaluate(
    folder: Path,
    *,
    data: Annotated[list[Path], Parameter(consume_multiple=True)],
    baselines: Path | None = None,
    text: str = "text",
    label: str = "label",
    source: str = "source",
    group: str | None = None,
    positive: Names = None,
    num: int | None = None,
    disguised: int = 60,
    seed: int = 0,
    model: str | None = None,
    device: str = "cpu",
) -> Outcome:
    """Evaluate the guardrail in FOLDER on labelled prompts, by source and group; rows seen in fitting are left out.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    data
        One or more files of labelled prompts.
    baselines
        The file that the guardrail was fitted on: TF-IDF, mean hidden state and an untrained network are fitted on
        it too and evaluated beside.
    text, label, source
        Names of the columns.
    group
        A second column to tell the figures by, such as the category.
    positive
        Labels that count as harmful.
    num
        Use at most so many rows.
    disguised
        Prompts of either class, at most, that are disguised (spaced, leetspeak, base64, ...) to see what is flagged.
    seed
        Seed of everything random.
    model
        Where the language model is now, if it has moved.
    device
        cpu, cuda, ...
    """
    from cutaway.guard import evaluate_guardrail as run
    from cutaway.guard import load_guardrail

    check_seed(seed)
    if disguised < 0:
        raise InputError("option --disguised", found=str(disguised), expected="0 or more")
    columns = {"text": text, "label": label, "source": source, "positive": positive}
    rows = _rows(data, {**columns, "group": group}, num, seed)
    guard = load_guardrail(folder, model=model, device=device)
    found = run(guard, rows, seed=seed, disguised=disguised)
    payload = _evaluation(found, list(found.notes))
    if baselines is not None:
        from cutaway.guard.baselines import compare

        others = compare(guard, _rows([baselines], columns, None, seed), rows, seed=seed)
        payload["baselines"] = {k: _evaluation(v, list(v.notes)) for k, v in others.evaluations.items()}
    return Outcome(payload=payload, words=_table(payload))


@app.command
def certify(
    folder: Path,
    *,
    out: Path | None = None,
    plot: Path | None = None,
    level: float = 0.9,
    cluster: int = 10,
    seed: int = 0,
    model: str | None = None,
    device: str = "cpu",
) -> Outcome:
    """Certify the detector of the guardrail in FOLDER on regions round its harmful training rows.

    Parameters
    ----------
    folder
        What `cutaway guard fit` wrote.
    out
        File for the certificate; by default certificate.json in the folder.
    plot
        File for the picture (.png, .svg, .html).
    level
        Conformal level of the ellipsoid.
    cluster
        Smallest cluster.
    seed
        Seed of everything random.
    model
        Where the language model is now, if it has moved.
    device
        cpu, cuda, ...
    """
    import dataclasses

    from cutaway.guard import certificate_file, load_guardrail

    check_seed(seed)
    check_picture("--plot", plot, (".png", ".svg", ".html"))
    guard = load_guardrail(folder, model=model, device=device, certificate=False)
    replaced = certificate_file.fault(folder / certificate_file.NAME)
    made = certificate_file.certify_guardrail(guard, level=level, smallest=cluster, seed=seed)
    path = certificate_file.write(made, out or folder / certificate_file.NAME)
    if plot is not None:
        from cutaway.guard.charts import certificate_chart

        certificate_chart(made).save(str(plot), scale_factor=2.0 if plot.suffix == ".png" else 1.0)
    record = dataclasses.asdict(made)
    box = made.region("box")
    record["replaced"] = replaced
    record |= {"worst": box.worst, "slack": box.slack, "containment": box.containment, "file": str(path)}
    lines = [f"certificate: {path}", f"status: {made.status.value} ({_MEANING[made.status.value]})"]
    lines += [f"note: {n}" for n in (*made.notes, *([f"the certificate before it: {replaced}"] if replaced else []))]
    for r in made.regions:
        inside = "-" if r.containment is None else f"{r.containment:.3f}"
        lines.append(f"  {r.name:<28}{r.status.value:<11} worst {r.worst:10.3f}  inside {inside}  {r.note}")
    for m in made.mixtures:
        word = "at most the lower limit" if m.conservative else "above the lower limit: not a bound"
        lines.append(
            f"  mixture of {m.components} ({m.covariance}): coverage {m.coverage:.3f}, {word}; held out "
            f"{m.recall:.3f}, at least {m.recall_low:.3f} (Clopper-Pearson), within {m.band:.3f} (DKW)"
        )
    lines.append(f"threshold {made.threshold:.3f}; held-out recall {made.recall:.3f}, at least {made.recall_low:.3f}")
    return Outcome(payload={"certificate": record}, words="\n".join(lines))


@app.command
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


@app.command
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
    model: str | None = None,
    device: str = "cpu",
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
    host, port
        Where to listen.
    workers
        Processes that compute; 0 computes in the server itself.
    keys
        A file with one API key a line, read again when it changes; CUTAWAY_GUARD_KEY holds one more.
    decisions
        A file for one JSON line a decision, without the prompt.
    log_prompts
        Write prompts into the log (never by default).
    model
        Where the language model is now, if it has moved.
    device
        cpu, cuda, ...
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
        sockets=sockets,
        stop_seconds=stop_seconds,
    )
    run(
        folder,
        certificate=certificate,
        host=host,
        port=port,
        settings=settings,
        model=model,
        device=device,
        keys=keys,
        decisions=decisions,
    )
    return Outcome(payload={"stopped": True}, words="stopped")


def _rows(files: list[Path], columns: dict, num: int | None, seed: int):
    import numpy as np

    from cutaway.guard import PromptRows, read_rows

    parts = [read_rows(f, **columns) for f in files]
    rows = PromptRows(
        name=", ".join(p.name for p in parts),
        texts=tuple(t for p in parts for t in p.texts),
        labels=np.concatenate([p.labels for p in parts]),
        sources=tuple(s for p in parts for s in p.sources),
        groups=tuple(g for p in parts for g in p.groups),
    )
    if num is not None and num < 1:
        raise InputError("option --num", found=str(num), expected="at least 1")
    if num is not None and num < len(rows):
        rows = rows.subset(np.sort(np.random.default_rng(seed).permutation(len(rows))[:num]))
    return rows


def _hold_out(rows, seed: int):
    import numpy as np
    from sklearn.model_selection import train_test_split

    for value, word in ((1, "harmful"), (0, "harmless")):
        if (count := int((rows.labels == value).sum())) < 2:
            raise InputError(
                f"data {rows.name}", found=f"{count} {word} rows", expected="at least 2, one to be held out"
            )
    held_share = max(0.2, 2 / len(rows))
    train, held = train_test_split(
        np.arange(len(rows)), test_size=held_share, stratify=rows.labels, random_state=seed % 2**32
    )
    return rows.subset(np.sort(train)), rows.subset(np.sort(held))


def _evaluation(found, notes: list[str]) -> dict:
    import dataclasses

    for note in notes:
        print(note, file=sys.stderr)
    whole = dataclasses.asdict(found.overall)
    by_source = {k: dataclasses.asdict(v) for k, v in found.by_source.items()}
    by_group = {k: dataclasses.asdict(v) for k, v in found.by_group.items()}
    disguised = {k: dataclasses.asdict(v) for k, v in found.obfuscated.items()}
    parts = {"by_source": by_source, "by_group": by_group, "obfuscated": disguised, "notes": notes}
    return {**whole, "threshold": found.threshold, **parts}


def _table(payload: dict) -> str:
    def line(name: str, r: dict) -> str:
        def cell(value) -> str:
            return "     -" if value is None or value != value else f"{value:6.3f}"

        return (
            f"{name:<18}{r['rows']:>6}{r['harmful']:>8}  {cell(r['auroc'])} [{cell(r['auroc_low'])},"
            f"{cell(r['auroc_high'])}]  {cell(r['tpr'])}  {cell(r['fpr'])}"
        )

    lines = [f"{'source':<18}{'rows':>6}{'harmful':>8}   AUROC [    95 %     ]     TPR     FPR", line("all", payload)]
    lines += [line(name, r) for name, r in payload["by_source"].items()]
    if payload["by_group"]:
        lines += ["group", *(line(name[:18], r) for name, r in payload["by_group"].items())]
    lines += [line(f"({name})", r) for name, r in payload.get("baselines", {}).items()]
    lines += _disguised(payload["obfuscated"])
    return "\n".join([*lines, f"threshold (logit) {payload['threshold']:.4f}"])


def _ordinary(r: dict) -> str:
    words = "{flagged} of {rows} ordinary requests are flagged ({share:.2f}, 95 % {low:.2f} to {high:.2f})".format(**r)
    return words + (f", such as: {' / '.join(r['examples'])}" if r["examples"] else "")


def _disguised(found: dict) -> list[str]:
    if not found:
        return []
    head = f"{'harmful prompts':<18}{'rows':>6}{'flagged':>8}   share [    95 %     ]   harmless"
    interval = "{share:6.3f} [{low:6.3f},{high:6.3f}]     {harmless_share:6.3f}"
    return [head, *(f"{name:<18}{r['rows']:>6}{r['flagged']:>8}  " + interval.format(**r) for name, r in found.items())]
