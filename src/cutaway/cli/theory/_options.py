"""Options that the commands of `cutaway theory` share. `--help` reads the docstring below.

Annotations are not postponed here, as in `cli/subject.py`.
"""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from cutaway.errors import InputError

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
