"""Options that the commands of `cutaway guard` share. `--help` reads the docstrings below."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cutaway.cli.options import Device, Several

if TYPE_CHECKING:
    from cutaway.guard import Guardrail


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LanguageModel:  # not a `Subject`, whose data are rows of one set: here prompts come from several files by column
    """The language model that the guardrail in a folder reads.

    Parameters
    ----------
    model
        Where the language model is now, if it has moved.
    """

    model: str | None = None
    device: Device = "cpu"

    def open(self, folder: Path, **options: Any) -> "Guardrail":
        """The guardrail in the folder."""
        from cutaway.guard import load_guardrail

        return load_guardrail(folder, model=self.model, device=self.device, **options)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Labelled:
    """What the columns of prompts and labels are called.

    Parameters
    ----------
    text
        Name of the column of prompts.
    label
        Name of the column of labels.
    positive
        Labels that count as harmful.
    """

    text: str = "text"
    label: str = "label"
    positive: Annotated[list[str] | None, Several] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Columns(Labelled):
    """What the columns of labelled prompts and their sources are called.

    Parameters
    ----------
    source
        Name of the column that says where a prompt is from.
    """

    source: str = "source"
