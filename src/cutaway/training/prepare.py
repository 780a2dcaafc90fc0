"""From a recipe to what trains: data sets, network, settings, loss terms, adversary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cutaway import seeds
from cutaway.data import Dataset, load_data
from cutaway.errors import CutawayError, InputError
from cutaway.network import first_tensor, preserved
from cutaway.network.sources import usable_device
from cutaway.training import by_name
from cutaway.training.batches import smallest_batch
from cutaway.training.characters import TEXT_SUFFIXES, Alphabet, character_sets
from cutaway.training.checkpoint import Blueprint
from cutaway.training.loop import Term, TrainingSettings
from cutaway.training.models import check_options
from cutaway.training.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """`sets`: train, test and, if held out, validation. `watched`: what the tracker looks at, by label."""

    sets: dict[str, Dataset]
    watched: dict[str, Dataset]
    blueprint: Blueprint
    model: nn.Module
    settings: TrainingSettings
    terms: tuple[Term, ...]
    adversary: Any


def prepare_training(plan: Recipe, device: str | None = None) -> Prepared:
    """Load, build and look everything up. Raises `InputError` (also for a device that is not there and a network that
    does not take the data's rows), `FileError`, `ModelError`."""
    usable_device(device or plan.training.device)
    sets, alphabet = data_sets(plan)
    train = sets["train"]
    loss = plan.training.loss or ("next-token" if alphabet else "cross-entropy")
    if (loss == "next-token") != (alphabet is not None):
        raise InputError(
            f"loss {loss!r}",
            found=f"data {plan.data.name!r} " + ("of characters" if alphabet else "that is no text"),
            expected="next-token for a text (.txt, .parquet), cross-entropy or mse for labelled data",
            remedy="change the loss, or the data",
        )
    if alphabet is None and train.labels is None:
        raise InputError(
            f"data set {plan.data.name!r}",
            found="no labels",
            expected="labels to train on",
            remedy="give labelled data",
        )
    options = plan.training.model_dump(exclude={"loss", "milestones", "device", "batch"})
    settings = TrainingSettings(
        **options,
        batch_size=plan.training.batch,
        loss=loss,
        milestones=tuple(plan.training.milestones),
        seed=plan.seed,
        device=device or plan.training.device,
    )
    blueprint = blueprint_for(plan, train, alphabet)
    model = blueprint.build()
    check_fit(model, train, settings)
    return Prepared(
        sets=sets,
        watched=watched_sets(plan, sets),
        blueprint=blueprint,
        model=model,
        settings=settings,
        terms=tuple(by_name.term(part, steps=settings.steps, data=train) for part in plan.regularisers),
        adversary=None if plan.adversary is None else by_name.adversary(plan.adversary, data=train),
    )


def check_fit(model: nn.Module, data: Dataset, settings: TrainingSettings) -> None:
    """Raise `InputError` unless the network takes the rows of `data` and gives a score for each of its classes.

    Cost: one forward pass of two rows; where batch norm and a batch of one row meet, one more of one row.
    """
    what, kind = f"model {type(model).__name__}", getattr(torch, settings.dtype)
    rows = data.inputs[:2]
    rows = rows.to(kind) if rows.is_floating_point() else rows
    try:
        with preserved(model), torch.no_grad():
            found = tuple(first_tensor(model.eval()(rows)).shape)
    except CutawayError:
        raise
    except Exception as error:  # a user's forward may raise anything
        raise InputError(
            f"{what} on data {data.name!r}",
            found=f"{type(error).__name__} for inputs of shape {tuple(rows.shape)}: {str(error).splitlines()[0][:160]}",
            expected="a network that takes the data's rows",
            remedy="change the network or its factory to the data's shape",
        ) from error
    if settings.loss == "next-token":
        return
    classes = data.num_classes or 0
    if len(found) != 2 or found[0] != len(rows) or found[1] < classes:
        raise InputError(
            f"{what} on data {data.name!r}",
            found=f"outputs of shape {found} for {len(rows)} rows",
            expected=f"({len(rows)}, {classes}): one score a class",
            remedy="give the network as many outputs as the data has classes",
        )
    smallest_batch(model, rows, settings, len(data))


def data_sets(plan: Recipe) -> tuple[dict[str, Dataset], Alphabet | None]:
    """Training and test rows (and validation rows, drawn from the training ones), and the alphabet of a text.

    Rows are drawn with the recipe's seed, except the test rows, which are the same for every seed.
    """
    part = plan.data
    if Path(part.name).suffix in TEXT_SUFFIXES and plan.model.name == "char-gpt":
        train, test, alphabet = character_sets(part.name, length=part.length)
        train = train if part.num is None else train.take(part.num, plan.seed)
        test = test if part.test is None else test.take(part.test)
    else:
        if plan.model.name == "char-gpt":
            raise InputError(
                "model 'char-gpt'",
                found=f"data {part.name!r}",
                expected="a text: .txt or .parquet",
                remedy="give a text, or another model",
            )
        alphabet = None
        train = load_data(part.name, split="train", num=part.num, seed=plan.seed, groups=part.groups)
        test = load_data(part.name, split="test", num=part.test, seed=0, groups=part.groups)
    if not part.validation:
        return {"train": train, "test": test}, alphabet
    count = math.ceil(part.validation * len(train))
    if count >= len(train):
        raise InputError(
            "data.validation",
            found=f"{part.validation:g} of {len(train)} rows",
            expected="fewer",
            remedy="give a smaller share of validation",
        )
    seed = seeds.number(plan.seed, "validation")
    held = train.take(count, seed)
    rows = np.setdiff1d(np.arange(len(train)), _rows_of(train, count, seed))
    return {"train": train.subset(rows), "validation": held, "test": test}, alphabet


def _rows_of(data: Dataset, num: int, seed: int) -> np.ndarray:
    """The row numbers that `data.take(num, seed)` draws."""
    from cutaway.data.dataset import choose_rows

    labels = None if data.labels is None else data.labels.numpy()
    return choose_rows(len(data), num, seed, labels)


def watched_sets(plan: Recipe, sets: dict[str, Dataset]) -> dict[str, Dataset]:
    """`num` rows of every set that the tracker is to look at; `random` is uniform in the data's range."""
    part, found = plan.tracker, {}
    for label in part.on:
        if label == "random":
            found[label] = random_points(sets["train"], part.num, plan.seed)
        elif label not in sets:
            raise InputError(
                f"set {label!r} of the tracker",
                found="no such set in this recipe",
                expected=", ".join(sets),
                remedy="hold some training rows out with data.validation",
            )
        else:
            found[label] = sets[label].take(min(part.num, len(sets[label])))
    return found


def random_points(data: Dataset, num: int, seed: int) -> Dataset:
    """Unlabelled points, uniform in the range of `data` (its value range, else its smallest to largest value)."""
    if not data.inputs.is_floating_point():
        raise InputError(
            "set 'random' of the tracker",
            found="token inputs",
            expected="floating-point inputs",
            remedy="leave this set out for tokens",
        )
    low, high = value_range(data)
    generator = seeds.generator(seed, "random points")
    points = low + (high - low) * torch.rand((num, *data.input_shape), generator=generator, dtype=torch.float32)
    return Dataset(name="uniform random points", inputs=points.to(data.inputs.dtype), value_range=(low, high))


def value_range(data: Dataset) -> tuple[float, float]:
    """The range that the data declares, else its smallest and largest value."""
    return data.value_range or (float(data.inputs.min()), float(data.inputs.max()))


def blueprint_for(plan: Recipe, train: Dataset, alphabet: Alphabet | None) -> Blueprint:
    """How the recipe's network is built for this data."""
    part = plan.model
    pair = None
    if plan.data.normalise:
        measured = train.normalised()
        assert measured.mean is not None and measured.std is not None
        pair = (measured.mean, measured.std)
    if part.factory is not None and pair is not None:
        raise InputError(
            "data.normalise",
            found="a factory's network",
            expected="false: a factory normalises itself",
            remedy="set data.normalise to false",
        )
    if part.name is not None:
        check_options(part.name, part.options)
    return Blueprint(
        title=plan.name,
        input_shape=train.input_shape,
        outputs=len(alphabet.characters) if alphabet else train.num_classes or 0,
        seed=plan.seed,
        name=part.name or "",
        factory=part.factory or "",
        dtype=plan.training.dtype,
        options=part.options,
        normalise=pair,
        alphabet=alphabet.characters if alphabet else "",
        example=tuple(tuple(row) for row in train.inputs[:2].tolist()) if alphabet else (),
        value_range=value_range(train) if train.inputs.is_floating_point() else None,
    )
