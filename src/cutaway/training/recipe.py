"""A training recipe: one TOML file that says everything, checked whole before anything runs.

    name = "fashion-mlp"
    seed = 0

    [data]                      # a named set or a path; texts (.txt, .parquet) for char-gpt
    name = "fashion-mnist"
    num = 1000                  # training rows, all without it; `test` likewise
    validation = 0.1            # share of the training rows held out

    [model]                     # mlp, cnn, ... with options, or factory = "pkg.module:factory"
    name = "mlp"
    width = 200

    [training]                  # the fields of `cutaway.training.loop.TrainingSettings`
    steps = 20000
    learning_rate = 1e-3

    [[regularisers]] # mmr, local-complexity-density, jacobian, gradient-norm, linear-margin, trades, group-prior
    name = "jacobian"
    weight = 0.1

    [adversary]                 # pgd, fast, free
    name = "pgd"
    radius = 0.1

    [tracker]                   # when, and on which sets, the instruments look
    schedule = "log"
    points = 50
    on = ["train", "test", "random"]
    [[tracker.instruments]]
    name = "robust-accuracy"
    radius = 0.1

    [checkpoints]
    points = 10

Unknown keys are refused with the nearest known one. Radii are in the data's units: normalisation is a fixed first
step of the network.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cutaway.errors import FileError, InputError, did_you_mean


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Open(BaseModel):
    """A part whose further keys are options of what it names."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class DataPart(_Part):
    """Which data: `normalise` puts (x - mean) / std of the training rows in front of the network; `length` is that of
    a row of characters, `groups` the column or array of the file that gives every row's group."""

    name: str
    num: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)
    validation: float = Field(default=0.0, ge=0.0, lt=1.0)
    normalise: bool = False
    length: int = Field(default=64, ge=2)
    groups: str | None = None


class ModelPart(_Open):
    """Which network: `name` with options, or `factory` (with options in its own brackets)."""

    name: str | None = None
    factory: str | None = None

    @model_validator(mode="after")
    def _one(self) -> ModelPart:
        if (self.name is None) == (self.factory is None):
            raise ValueError("expected one of name and factory")
        if self.factory is not None and self.model_extra:
            raise ValueError("a factory takes its options in its own brackets, as in file.py:make(width=3)")
        return self


class TrainingPart(_Part):
    """See `cutaway.training.loop.TrainingSettings`; without `loss`, cross-entropy, or next-token for characters."""

    steps: int = Field(ge=1)
    batch: int = Field(default=128, ge=1)
    optimiser: Literal[
        "adamw", "adam", "sgd", "gradient-descent", "sign-descent", "coordinate-descent", "spectral-descent"
    ] = "adamw"
    learning_rate: float = Field(default=1e-3, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    momentum: float = Field(default=0.9, ge=0)
    nesterov: bool = False
    loss: Literal["cross-entropy", "mse", "next-token"] | None = None
    schedule: Literal["constant", "cosine", "step", "one-cycle"] = "constant"
    warmup: int = Field(default=0, ge=0)
    milestones: list[float] = [0.5, 0.75]
    decay: float = Field(default=0.1, ge=0)
    clip: float | None = Field(default=None, gt=0)
    order: int = Field(default=0, ge=0)
    on_nan: Literal["stop", "mark"] = "stop"
    dtype: Literal["float32", "float64"] = "float32"
    device: str = "cpu"


class RegulariserPart(_Open):
    """A term of the loss: `weight`, reached linearly over the first `ramp` steps; other keys are its settings."""

    name: str
    weight: float = Field(ge=0, allow_inf_nan=False)
    ramp: int = Field(default=0, ge=0)


class AdversaryPart(_Open):
    """Adversarial training: `share` of every batch is attacked; other keys are the attack's settings."""

    name: str
    share: float = Field(default=1.0, gt=0, le=1)


class InstrumentPart(_Open):
    """An instrument by name; `label` tells two of the same apart; other keys are its parameters."""

    name: str
    label: str | None = None


class TrackerPart(_Part):
    """When and on what the instruments look: `log` at `points` log-spaced steps, `every` n steps, or `budget`: at the
    log-spaced steps as far as tracking stays below `share` of the time. `num` rows of every set in `on`.
    `example_scores`: keep a table with scores of every training row."""

    schedule: Literal["log", "every", "budget"] = "log"
    points: int = Field(default=50, ge=1)
    every: int = Field(default=1000, ge=1)
    share: float = Field(default=0.05, gt=0, lt=1)
    on: list[Literal["train", "test", "validation", "random"]] = ["train", "test"]
    num: int = Field(default=500, ge=1)
    intervals: bool = True
    example_scores: bool = False
    instruments: list[InstrumentPart] = []


class CheckpointsPart(_Part):
    """Weights are kept at `points` log-spaced steps, or `every` n steps; the last step always."""

    points: int = Field(default=10, ge=1)
    every: int | None = Field(default=None, ge=1)


class Recipe(_Part):
    """A whole recipe; `read_recipe` makes it from a file."""

    name: str = "run"
    seed: int = Field(default=0, ge=0)
    data: DataPart
    model: ModelPart
    training: TrainingPart
    regularisers: list[RegulariserPart] = []
    adversary: AdversaryPart | None = None
    tracker: TrackerPart = TrackerPart()
    checkpoints: CheckpointsPart = CheckpointsPart()


LARGEST_RECIPE = 1_000_000  # bytes


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file. Raises `FileError` (missing, not TOML: which line), `InputError` (which key, what is
    expected there, the nearest known key)."""
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8")) if path.stat().st_size <= LARGEST_RECIPE else None
    except OSError as error:
        raise FileError(
            f"recipe {path}",
            found="no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error),
            expected="a TOML file",
            remedy=did_you_mean(path.name, [p.name for p in path.parent.glob("*.toml")], "check the path"),
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(
            f"recipe {path}",
            found=str(error),
            expected="TOML",
            remedy="correct the file at that place; docs/recipes.md shows every key",
        ) from error
    except (RecursionError, ValueError) as error:  # nested too deep, a number of too many digits
        raise FileError(
            f"recipe {path}",
            found=str(error)[:200],
            expected="a recipe's few levels",
            remedy="nest less; docs/recipes.md shows every key",
        ) from error
    if content is None:
        raise FileError(
            f"recipe {path}",
            found="more than 1 MB",
            expected="a recipe, a few kilobytes of TOML",
            remedy="give the recipe itself, not a data file",
        )
    return checked_recipe(content, str(path))


def checked_recipe(content: dict[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from a plain dictionary; `where` names its source in errors."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])  # a misspelt key is missing too
        raise _explained(first, content, where) from error


def _explained(error: Any, content: dict[str, Any], where: str) -> InputError:
    place = [part for part in error["loc"] if not str(part).startswith("function-")]
    key = ".".join(str(part) for part in place)
    source = f"recipe {where}" if where != "recipe" else where
    if error["type"] == "extra_forbidden":
        known = _known_keys(place[:-1])
        return InputError(
            f"{source}, key {key!r}",
            found="no such key",
            expected=", ".join(known),
            remedy=did_you_mean(str(place[-1]), known),
        )
    if error["type"] == "missing":
        return InputError(
            f"{source}, key {key!r}",
            found="nothing",
            expected="a value: it is needed",
            remedy="add this key to the recipe",
        )
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return InputError(
        f"{source}, key {key!r}",
        found=repr(error["input"])[:80],
        expected=message,
        remedy="give this key such a value; docs/recipes.md shows every key",
    )


def _known_keys(place: list[Any]) -> list[str]:
    """The keys of the part that stands at `place`."""
    part: Any = Recipe
    for name in place:
        if isinstance(name, int):
            continue
        part = _PARTS.get(name, part)
    return list(part.model_fields)


_PARTS: dict[str, Any] = {
    "data": DataPart,
    "model": ModelPart,
    "training": TrainingPart,
    "regularisers": RegulariserPart,
    "adversary": AdversaryPart,
    "tracker": TrackerPart,
    "instruments": InstrumentPart,
    "checkpoints": CheckpointsPart,
}
