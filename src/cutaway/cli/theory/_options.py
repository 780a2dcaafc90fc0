"""Options that the commands of `cutaway theory` share. `--help` reads the docstring below.

Annotations are not postponed here, as in `cli/subject.py`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.data import Dataset

Noise = Annotated[float, Parameter(help="Variance of the label noise.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StudentOptions:
    """A two-layer network that learns, and how it is trained.

    Parameters
    ----------
    width
        Student neurons.
    dimension
        Input dimension.
    rate
        Step size for weights of unit length.
    batch
        Samples a step.
    spherical
        Renormalise the student's weights.
    steps
        Number of steps.
    """

    width: int = 1
    dimension: int = 256
    rate: float | None = None
    batch: int = 1
    noise: Noise = 0.0
    spherical: bool = False
    steps: int = 20_000

    def check(self) -> None:
        """Before the work, and before rates are divided by the dimension. Raises InputError."""
        for option in ("width", "dimension", "batch", "steps"):
            if (found := getattr(self, option)) < 1:
                raise InputError(
                    f"option --{option}",
                    found=str(found),
                    expected="at least 1",
                    remedy="give a whole number of at least 1",
                )


def usual_number(data: str | None, split: str, usual: int) -> int | None:
    """How many rows to ask for where no number was told: `usual` of a named set, or all where it has fewer; None for
    files, whose length is known when they are read (see `at_most`)."""
    from cutaway.data.named import NAMED, available

    name = str(data).lower().replace("_", "-")
    return min(usual, available(name, split)) if name in NAMED else None


def at_most(rows: "Dataset", number: int, seed: int) -> "Dataset":
    """`number` of the rows, equal over the classes, or all where there are fewer."""
    return rows if len(rows.inputs) <= number else rows.take(number, seed)
