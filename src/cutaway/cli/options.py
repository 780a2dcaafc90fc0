"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.network import Network


def open_subject(
    model: str | None,
    data: str | None,
    *,
    weights: str | None,
    num: int | None,
    seed: int,
    split: str,
    device: str,
    dtype: str | None,
    trust_pickle: bool,
    trust_code: bool = False,
    budget: str | None = None,
    groups: str | None = None,
    labels2: str | None = None,
) -> tuple[Network, Dataset]:
    """The network that a `MODEL` argument names and the data set that `--data` names, which must fit each other.

    Without a model, a small network is trained on digits. Text data is cut into rows of tokens by the model's
    tokenizer. Without data, a language model reads its example text, and other models of one vector input standard
    normal inputs (said in the data's name). `groups` and `labels2` name columns of the data.
    """
    import torch

    from cutaway.data.columns import no_columns
    from cutaway.files import within
    from cutaway.network import Network
    from cutaway.network.sources import load_model, usable_device

    if dtype is not None and dtype not in ("float32", "float64"):
        raise InputError("option --dtype", found=dtype, expected="float32 or float64", remedy="give one of the two")
    if num is not None and num < 1:
        raise InputError(
            "option --num", found=str(num), expected="at least 1", remedy="give a whole number of at least 1"
        )
    usable_device(device)
    beside: dict[str, Any] = {"groups": groups, "labels2": labels2}
    if data is None:
        no_columns("no --data", groups, labels2)
    if model is None:
        from cutaway.demo import train_digits

        if weights is not None:
            raise InputError(
                "option --weights",
                found="no model",
                expected="a model to load the weights into",
                remedy="name the model that they belong to",
            )
        module, dataset = train_digits(seed=seed)
        if data is not None:
            dataset = open_data(data, num=None, seed=seed, split=split, budget=budget_bytes(budget), **beside)
        dataset = dataset.take(num, seed) if num is not None else dataset
        name = "small CNN trained on digits"
    else:
        loaded = load_model(model, weights=weights, trust_pickle=trust_pickle, device=device, trust_code=trust_code)
        module, name = loaded.model, loaded.name
        with within(budget_bytes(budget)):
            dataset = _fitting_data(loaded, data, num, seed, split, beside)
    module = module.to(device)
    if dtype is not None:
        module = module.to(getattr(torch, dtype))
    return Network(module, dataset.inputs[:2], name=name), dataset


def _fitting_data(loaded, data: str | None, num: int | None, seed: int, split: str, beside: dict[str, Any]) -> Dataset:
    import torch

    from cutaway.data import Dataset, load_text
    from cutaway.data.columns import no_columns

    if data is not None and loaded.tokenizer is not None and not data.endswith((".npz", ".npy")):
        no_columns(f"texts {data}", None, beside["labels2"])
        texts = load_text(data, group_column=beside["groups"])
        tokens = texts.tokenised(loaded.tokenizer, TOKENS)
        return tokens.take(min(num, len(tokens)), seed) if num is not None else tokens
    if data is not None:
        return open_data(data, num=num, seed=seed, split=split, **beside)
    if loaded.example is None:
        raise InputError(
            f"model {loaded.name!r}",
            found="no data set",
            expected="one",
            remedy="name one with --data, for instance --data mnist",
        )
    if not loaded.example.is_floating_point():
        return Dataset(name="the model's example text", inputs=loaded.example)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn((num or 256, *loaded.example.shape[1:]), generator=generator)
    return Dataset(name="standard normal inputs (no data given)", inputs=inputs)


TOKENS = 32  # tokens a row when text is cut into rows of equal length


def check_picture(option: str, path: Path | None, endings: tuple[str, ...]) -> None:
    """Before the work, not after it: the picture's ending is one of `endings`, and its folder is there."""
    if path is None:
        return
    if path.suffix.lower() not in endings:
        *others, last = endings
        expected = f"a file name that ends in {', '.join(others)} or {last}"
        raise InputError(f"option {option}", found=str(path), expected=expected, remedy="give such a path")
    if not path.parent.is_dir():
        raise InputError(
            f"option {option}",
            found=f"no folder {path.parent}",
            expected="a file in a folder that is there",
            remedy="make the folder, or name another",
        )


def check_double_on_cpu(command: str, device: str, dtype: str) -> None:
    """For commands whose guarantees rest on float64 on the processor: any other choice is refused, not ignored."""
    for option, found, expected in (("--device", device, "cpu"), ("--dtype", dtype, "float64")):
        if found != expected:
            raise InputError(
                f"option {option}",
                found=found,
                expected=expected,
                remedy=f"cutaway {command} computes in float64 on the processor; the network itself may be of any type",
            )


def open_data(
    name: str,
    *,
    num: int | None,
    seed: int,
    split: str = "test",
    budget: int | None = None,
    groups: str | None = None,
    labels2: str | None = None,
) -> Dataset:
    """The data set that `--data` names, cut to `num` rows; read within `budget` bytes."""
    from cutaway.data import load_data
    from cutaway.files import within

    with within(budget):
        return load_data(name, split=split, num=num, seed=seed, groups=groups, labels2=labels2)


def budget_bytes(text: str | None) -> int | None:
    """Bytes from `8GB`, `500MB` or a number."""
    if text is None:
        return None
    from cutaway.engines.budget import parse_budget as parse

    return parse(text)
