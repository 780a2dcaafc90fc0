"""`cutaway fit RECIPE.toml`: train a network from a recipe, tracked, with checkpoints that open by themselves."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Device, Seed, TrustCode

app = new_app("fit")  # no `Subject`: a recipe names network and data, and only seed and device come before it


@app.default
def fit(
    recipe: Path,
    *,
    out: Path | None = None,
    resume: bool = False,
    reorder: bool = False,
    seed: Seed | None = None,
    device: Device | None = None,
    trust_code: TrustCode = False,
) -> Outcome:
    """Train a network from a recipe, tracked.

    A seed or device given here comes before the recipe's.

    Parameters
    ----------
    recipe
        A TOML file; see `cutaway.training.recipe` for its keys.
    out
        Run folder; by default `runs/NAME` in the current folder, NAME being the recipe's.
    resume
        Go on with the run in the folder.
    reorder
        The same training with its examples in another order, by default in `runs/NAME-reordered`: the reference that
        `cutaway provenance` compares a suspect with.
    """
    from cutaway.errors import InputError
    from cutaway.training import recipe as recipes
    from cutaway.training.fit import fit as train

    if seed is not None and seed < 0:
        raise InputError("option --seed", found=str(seed), expected="0 or more", remedy="give a seed of at least 0")
    plan = recipes.read_recipe(recipe)
    folder = out or Path("runs") / (plan.name + "-reordered" * reorder)
    with _progress(plan.training.steps) as progress:
        fitted = train(
            recipe,
            folder,
            resume=resume,
            reorder=reorder,
            seed=seed,
            device=device,
            progress=progress,
            trust_code=trust_code,
        )
    payload = {
        "run": str(fitted.folder),
        "checkpoints": [str(path) for path in fitted.checkpoints],
        "final": fitted.final,
        "seconds": fitted.seconds,
        "model": fitted.model,
        "notes": list(fitted.notes),
    }
    reads_text = plan.model.name == "char-gpt"
    lines = [
        f"{name:<11} accuracy {score['accuracy']:.4f} [{score['low']:.4f}, {score['high']:.4f}]  "
        f"loss {score['loss']:.4g}  ({score['rows']:,} rows)"
        for name, score in fitted.final.items()
    ]
    lines += [
        *fitted.notes,
        f"{plan.training.steps:,} steps in {fitted.seconds:.1f} s; {len(fitted.checkpoints)} checkpoints",
        f"run: {fitted.folder}",
        f"look inside: cutaway scan {fitted.model}" + ("" if reads_text else f" --data {plan.data.name}"),
    ]
    return Outcome(payload=payload, words="\n".join(lines))


@contextlib.contextmanager
def _progress(steps: int) -> Iterator[Callable[[int, int, float], None] | None]:
    """A bar on standard error where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("loss {task.fields[loss]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=steps, loss="")

        def told(step: int, _steps: int, loss: float) -> None:
            if step % 20 == 0 or step == steps:
                bar.update(task, completed=step, loss=f"{loss:.4g}")

        yield told
