"""`fit`: train what a recipe says, into a run folder that survives a kill at any moment.

    recipe.toml                             the recipe as it was given
    fit.json                                its key, then final scores and seconds (rewritten at the end)
    model.json                              how the network is built, so that checkpoints open by themselves
    run.json, journal.bin, readings/        the tracker's (`cutaway track`, `cutaway report`)
    checkpoints/step-00001000.safetensors   weights
    resume.pt                               weights, optimiser and adversary of the last safe point; gone at the end

A run that was cut goes on from its last safe point and ends with the same bits. Everything is written under a
temporary name and renamed.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cutaway.errors import FileError, InputError
from cutaway.files import LARGEST_RECORD, atomic, read_json, read_text, write_text
from cutaway.training import by_name
from cutaway.training import recipe as recipes
from cutaway.training.checkpoint import FILE as MODEL_FILE
from cutaway.training.loop import State, train
from cutaway.training.prepare import Prepared, data_sets, prepare_training
from cutaway.training.recipe import Recipe, checked_recipe
from cutaway.training.row_watch import RowWatch
from cutaway.training.schedule import EveryN, LogSpaced, Schedule, When
from cutaway.training.scores import score_model
from cutaway.training.tracker import Tracker

if TYPE_CHECKING:
    from cutaway.data import Dataset

FORMAT = 1
OURS = ("recipe.toml", MODEL_FILE)  # written before fit.json: a kill there leaves a folder that can be used
SAFE_SECONDS = 20.0  # longest work that a kill can cost, if saving is quick
SAVING_SHARE = 0.05  # a slow save is made rarer, so that it takes at most this share of the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A finished run: folder, checkpoints in order, `final` (scores by set: accuracy, low, high, loss, rows), wall
    seconds of training over all sessions, the MODEL argument that opens the last checkpoint, and what the data sets'
    notes say was scaled or left out."""

    folder: Path
    checkpoints: tuple[Path, ...]
    final: dict[str, dict[str, float]]
    seconds: float
    model: str
    notes: tuple[str, ...] = ()


def fit(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    seed: int | None = None,
    device: str | None = None,
    reorder: bool = False,
    progress: Callable[[int, int, float], None] | None = None,
    trust_code: bool = False,
) -> Fitted:
    """Train what `recipe` (a TOML file or a `Recipe`) says into the folder `out`.

    resume: go on with the run that is there (a finished one is read back). seed, device: instead of the recipe's.
    reorder: the same training with its examples in another order, the reference of `cutaway provenance`.
    progress: called with (step, steps, loss) after every step. trust_code: also build the network by a factory that the
    copy of a recipe inside a run folder names. Raises `InputError` for a recipe that does not hold
    together or a folder with something else in it, `FileError` when the disk is full, `WorkError` when the loss is not
    finite.
    """
    plan = recipe if isinstance(recipe, Recipe) else recipes.read_recipe(recipe)
    text = "" if isinstance(recipe, Recipe) else read_text(recipe, "recipe", largest=LARGEST_RECORD)
    if not isinstance(recipe, Recipe) and not trust_code:
        check_source(plan, Path(recipe))
    if seed is not None:
        plan, text = plan.model_copy(update={"seed": seed}), f"# run with seed {seed}, told beside this recipe\n{text}"
    if reorder:
        other = plan.training.model_copy(update={"order": plan.training.order + 1})
        plan, text = plan.model_copy(update={"training": other}), f"# run with its examples in another order\n{text}"
    folder = Path(out)
    record = _checked_folder(folder, plan, resume)
    if record.get("final"):
        return _fitted(folder, record)
    ready = prepare_training(plan, device)
    tracker = _tracker(plan, ready, folder, resume)
    write_text(folder / "recipe.toml", text or _as_comment(plan))
    write_text(folder / MODEL_FILE, ready.blueprint.to_json())
    write_text(folder / "fit.json", json.dumps(record, indent=1))
    settings, (start, before) = ready.settings, _read_state(folder, resume)
    began, keep = time.perf_counter(), _Keeper(folder, settings.steps, tracker, before)
    with tracker:
        train(
            ready.model,
            ready.sets["train"],
            settings,
            terms=ready.terms,
            adversary=ready.adversary,
            tracker=tracker,
            progress=None if progress is None else lambda step, loss: progress(step, settings.steps, loss),
            keep=keep,
            start=start,
        )
    seconds = before + time.perf_counter() - began
    final = {name: asdict(score_model(ready.model, data, loss=settings.loss)) for name, data in ready.sets.items()}
    notes = dict.fromkeys(f"{data.name}: {data.note}" for data in ready.sets.values() if data.note)
    record |= {"final": final, "seconds": seconds, "notes": list(notes)}
    write_text(folder / "fit.json", json.dumps(record, indent=1))
    (folder / "resume.pt").unlink(missing_ok=True)
    return _fitted(folder, record)


def rows_of_run(folder: str | Path) -> Dataset | None:
    """The training rows of a run of `fit`, in the numbering of its order log, read again as its recipe says; None for
    the run of another loop. Raises `InputError` for a record that holds no recipe, and as `load_data`."""
    file = Path(folder) / "fit.json"
    if not file.exists():
        return None
    record = read_json(file, "record")
    content = record.get("recipe") if isinstance(record, dict) else None
    return data_sets(checked_recipe(content if isinstance(content, dict) else {}, f"recipe in {file}"))[0]["train"]


def check_source(plan: Recipe, path: Path) -> None:
    """`InputError` for a factory in a recipe that stands inside a run folder: that is a record, not the user's word."""
    if plan.model.factory and any((path.parent / name).exists() for name in ("fit.json", "run.json", MODEL_FILE)):
        raise InputError(
            f"recipe {path} of a run",
            found=f"the factory {plan.model.factory}, which would run code of whoever wrote the run",
            expected="one of the networks of `cutaway fit`",
            remedy="pass --trust-code if you trust the run to name its factory",
        )


def _checked_folder(folder: Path, plan: Recipe, resume: bool) -> dict[str, Any]:
    """The record of the run: a new one, or that of the folder if it may be gone on with. Writes nothing."""
    content = plan.model_dump(mode="json")
    content["training"].pop("device")
    if not content["training"]["order"]:  # as runs of before have it
        content["training"].pop("order")
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    file = folder / "fit.json"
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(p.name not in OURS for p in folder.iterdir())):
            raise InputError(
                f"folder {str(folder)!r}",
                found="other files",
                expected="an empty or new folder",
                remedy="name another folder with --out",
            )
        return {"format": FORMAT, "key": key, "name": plan.name, "recipe": content}
    try:
        record = read_json(file, "record")
        old, version = record["key"], int(record["format"])
    except (FileError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise FileError(
            f"run folder {str(folder)!r}",
            found=f"a broken fit.json ({error})",
            expected="a run",
            remedy="start the training again in a new folder",
        ) from error
    if version > FORMAT:
        raise FileError(
            f"run folder {str(folder)!r}",
            found=f"format {version}",
            expected=f"{FORMAT} or older",
            remedy="update Cutaway",
        )
    if not resume:
        raise InputError(
            f"run folder {str(folder)!r}",
            found="a finished run" if record.get("final") else "a run that was cut",
            expected="a new folder",
            remedy="give --resume to go on with it, or name another folder with --out",
        )
    if old != key:
        changed = _first_change(record.get("recipe", {}), content)
        raise InputError(
            f"run folder {str(folder)!r}",
            found=f"a run of another recipe (it differs in {changed})",
            expected="the run to go on with",
            remedy="resume with the recipe it was started with, or name another folder with --out",
        )
    return record


def _first_change(old: Any, new: Any, place: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *old]:
            if old.get(name) != new.get(name):
                return _first_change(old.get(name), new.get(name), f"{place}.{name}" if place else name)
    return f"{place}: {old!r} there, {new!r} here"


def _as_comment(plan: Recipe) -> str:
    lines = json.dumps(plan.model_dump(mode="json"), indent=1).splitlines()
    return "# this run was started from Python with\n" + "\n".join(f"# {line}" for line in lines) + "\n"


def _saving(plan: Recipe, steps: int) -> Schedule:
    """At which steps weights are kept: the last one always, the untrained network as well."""
    part = plan.checkpoints
    spaced = EveryN(part.every) if part.every else LogSpaced(steps, part.points)
    return spaced | When(lambda moment: moment.step == steps)


def _tracker(plan: Recipe, ready: Prepared, folder: Path, resume: bool) -> Tracker:
    part = plan.tracker
    chosen = by_name.instruments(part.instruments, ready.sets["train"])
    looked = ready.watched if chosen else {"train": ready.sets["train"].first(1)}
    return Tracker(
        chosen,
        by_name.schedule(part, ready.settings.steps),
        folder,
        data=looked,
        seed=plan.seed,
        intervals=part.intervals,
        callbacks=[RowWatch(ready.sets["train"])] if part.example_scores else [],
        checkpoints=_saving(plan, ready.settings.steps),
        on_nan="mark",
        resume=resume,
        settings=plan.model_dump(mode="json"),
    )


class _Keeper:
    """Writes `resume.pt` every so often, and the seconds spent so far."""

    def __init__(self, folder: Path, steps: int, tracker: Tracker, before: float) -> None:
        self.folder, self.steps, self.tracker, self.before = folder, steps, tracker, before
        self.began = self.last = time.perf_counter()
        self.wait = SAFE_SECONDS

    def __call__(self, step: int, take: Callable[[], State]) -> None:
        now = time.perf_counter()
        if step == self.steps or now - self.last < self.wait:
            return
        self.tracker.flush()  # what was told up to here must not be lost behind a state that goes on from here
        write_state(take(), self.folder / "resume.pt", seconds=self.before + now - self.began)
        self.last = time.perf_counter()
        self.wait = max(SAFE_SECONDS, (self.last - now) / SAVING_SHARE)


def write_state(state: State, path: Path, *, seconds: float = 0.0) -> None:
    """Write a state atomically; `FileError` when the disk is full."""
    buffer = io.BytesIO()
    torch.save(
        {
            "step": state.step,
            "model": dict(state.model),
            "optimiser": state.optimiser,
            "adversary": state.adversary,
            "seconds": seconds,
        },
        buffer,
    )
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _read_state(folder: Path, resume: bool) -> tuple[State | None, float]:
    """The last safe point and the seconds spent up to it."""
    path = folder / "resume.pt"
    if not resume or not path.exists():
        return None, 0.0
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = State(**{k: content[k] for k in ("step", "model", "optimiser", "adversary")})
        return state, float(content["seconds"])
    except Exception as error:  # torch raises many kinds for damaged files
        raise FileError(
            f"state {str(path)!r}",
            found=f"not a complete file ({type(error).__name__})",
            expected="what `cutaway fit` wrote",
            remedy="remove it to start from the first step",
        ) from error


def _fitted(folder: Path, record: dict[str, Any]) -> Fitted:
    checkpoints = tuple(sorted((folder / "checkpoints").glob("step-*.safetensors")))
    factory = record["recipe"]["model"].get("factory")
    last = str(checkpoints[-1])
    return Fitted(
        folder=folder,
        checkpoints=checkpoints,
        final=record["final"],
        seconds=record["seconds"],
        model=f"{factory} --weights {last}" if factory else last,
        notes=tuple(record.get("notes", ())),
    )
