"""`cutaway instruments`: what can be asked of a network."""

from __future__ import annotations

from cutaway.cli.command import Outcome, new_app

app = new_app("instruments", "List the instruments: name, question, source, needs, cost.")


@app.default
def instruments() -> Outcome:
    """List every registered instrument, from Cutaway and from other packages."""
    from cutaway import registry

    rows = []
    for name in registry.names():
        kind = registry.instrument(name)
        rows.append(
            {
                "name": name,
                "question": kind.question,
                "source": kind.source,
                "needs": sorted(kind.needs),
                "cost": kind.expense,
                "null": kind.null,
                "in_scan": kind.in_scan,
            }
        )
    blocks = [
        f"{r['name']}\n  {r['question']}\n  source: {r['source']}\n"
        f"  needs: {', '.join(r['needs']) or 'any network'}; cost: {r['cost']}"
        for r in rows
    ]
    return Outcome(payload={"instruments": rows}, words="\n".join(blocks))
