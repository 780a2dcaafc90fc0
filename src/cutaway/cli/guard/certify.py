"""`cutaway guard certify FOLDER`: what a guardrail's detector proves on regions round harmful rows."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.guard._options import LanguageModel
from cutaway.cli.options import Seed, check_picture
from cutaway.seeds import check_seed

app = new_app("guard certify")

_MEANING = {  # of the status of a whole certificate
    "certified": "a certified region, the rows' own hull aside, holds held-out harmful rows",
    "falsified": "every region holds a point that is not flagged",
    "unknown": "no certified region holds a held-out harmful row",
}


@app.default
def certify(
    folder: Path,
    *,
    out: Path | None = None,
    plot: Path | None = None,
    level: float = 0.9,
    cluster: int = 10,
    seed: Seed = 0,
    language: LanguageModel = LanguageModel(),
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
    """
    import dataclasses

    from cutaway.guard import certificate_file

    check_seed(seed)
    check_picture("--plot", plot, (".png", ".svg", ".html"))
    guard = language.open(folder, certificate=False)
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
