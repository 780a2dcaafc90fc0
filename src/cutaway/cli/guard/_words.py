"""How an evaluation of a guardrail is told: its payload and its table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutaway.guard.evaluation import Evaluation


def evaluation(found: Evaluation, notes: list[str]) -> dict[str, Any]:
    """Its payload; the notes go to standard error."""
    import dataclasses

    for note in notes:
        print(note, file=sys.stderr)
    whole = dataclasses.asdict(found.overall)
    by_source = {k: dataclasses.asdict(v) for k, v in found.by_source.items()}
    by_group = {k: dataclasses.asdict(v) for k, v in found.by_group.items()}
    disguised = {k: dataclasses.asdict(v) for k, v in found.obfuscated.items()}
    parts = {"by_source": by_source, "by_group": by_group, "obfuscated": disguised, "notes": notes}
    return {**whole, "threshold": found.threshold, "asked": found.asked, **parts}


def score_table(payload: dict[str, Any]) -> str:
    """A line a source, a group, a baseline and a disguise."""

    def line(name: str, r: dict) -> str:
        def cell(value) -> str:
            return "     -" if value is None or value != value else f"{value:6.3f}"

        return (
            f"{name:<18}{r['rows']:>6}{r['harmful']:>8}  {cell(r['auroc'])} [{cell(r['auroc_low'])},"
            f"{cell(r['auroc_high'])}]  {cell(r['tpr'])}  {cell(r['fpr'])} [{cell(r['fpr_low'])},{cell(r['fpr_high'])}]"
        )

    lines = [
        f"{'source':<18}{'rows':>6}{'harmful':>8}   AUROC [    95 %     ]     TPR     FPR [    95 %     ]",
        line("all", payload),
    ]
    lines += [line(name, r) for name, r in payload["by_source"].items()]
    if payload["by_group"]:
        lines += ["group", *(line(name[:18], r) for name, r in payload["by_group"].items())]
    lines += [line(f"({name})", r) for name, r in payload.get("baselines", {}).items()]
    lines += _disguised(payload["obfuscated"])
    asked = "" if payload["asked"] != payload["asked"] else f", false-positive rate asked for {payload['asked']:g}"
    return "\n".join([*lines, f"threshold (logit) {payload['threshold']:.4f}{asked}"])


def ordinary_words(r: dict[str, Any]) -> str:
    """How many of the ordinary requests that come with Cutaway are flagged."""
    words = "{flagged} of {rows} ordinary requests are flagged ({share:.2f}, 95 % {low:.2f} to {high:.2f})".format(**r)
    return words + (f", such as: {' / '.join(r['examples'])}" if r["examples"] else "")


def _disguised(found: dict) -> list[str]:
    if not found:
        return []
    head = f"{'harmful prompts':<18}{'rows':>6}{'flagged':>8}   share [    95 %     ]   harmless"
    interval = "{share:6.3f} [{low:6.3f},{high:6.3f}]     {harmless_share:6.3f}"
    return [head, *(f"{name:<18}{r['rows']:>6}{r['flagged']:>8}  " + interval.format(**r) for name, r in found.items())]
