"""The assumptions that the instruments rest on, probed once: finite outputs, the same twice, every row by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from cutaway.errors import ModelError
from cutaway.network.rows import SiteShapes, with_layouts
from cutaway.network.sites import Site

if TYPE_CHECKING:
    from cutaway.network.network import Network

_NOISE = {torch.float64: 1e-10, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}


def probed(network: Network, output: torch.Tensor, sites: tuple[Site, ...]) -> tuple[Site, ...]:
    """The sites, with the places of the rows in them; `output` is that of the example.

    Raises `ModelError` where the model is not one function of each row. Cost: the example's rows twice."""
    example = network.example
    assert example is not None
    finite = bool(torch.isfinite(output).all()) or not output.is_floating_point()
    if not finite and bool(torch.isfinite(example).all()):
        raise ModelError(
            f"network {network.name!r}",
            found="outputs that are NaN or infinite on finite inputs",
            expected="finite outputs",
            remedy="check the weights and the preprocessing; Network(..., probe=False) switches this check off",
        )
    some, one = SiteShapes(sites, len(example)), SiteShapes(sites, 1)
    with torch.no_grad():
        with some:
            again = network.forward(example)
        if not torch.equal(again, output) and (noise := _gap(again, output)) > _allowed(network, output):
            if network.may_draw:
                network.draws = True
                return sites
            raise ModelError(
                f"network {network.name!r}",
                found=f"two passes on the same input that differ by {noise:.3g}",
                expected="a deterministic model",
                remedy="call model.eval(); robust-accuracy measures what draws, in Python by Network(..., random=True)",
            )
        head, *rest = (row[None] for row in example)
        with one:
            first = _alone(network, head, output)
        alone = torch.cat([first, *(_alone(network, row, output) for row in rest)])
    if (difference := _gap(alone, output)) > _allowed(network, output):
        raise ModelError(
            f"network {network.name!r}",
            found=f"rows of a batch that influence each other (by {difference:.3g})",
            expected="every row computed by itself",
            remedy="remove batch-wise operations; Network(..., probe=False) switches this check off",
        )
    return tuple(with_layouts(sites, some, one)) if len(example) > 1 else sites


def _gap(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference; infinite where it is no number."""
    gap = float((one - other).abs().max())
    return gap if gap == gap else float("inf")


def _allowed(network: Network, output: torch.Tensor) -> float:
    return _NOISE.get(network.dtype, 1e-3) * max(1.0, float(output.abs().max()))


def _alone(network: Network, row: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The output of one row of the example that gave `output`; a ModelError where its shape is not that of a row, as
    after a squeeze() without a dimension."""
    assert network.example is not None
    count = len(network.example)
    try:
        found = network.forward(row)
        words = f"shape {tuple(found.shape)} from one row alone, {tuple(output.shape)} from {count} rows"
    except AssertionError as error:  # a guard of an exported program
        raise ModelError(
            f"network {network.name!r}",
            found=f"one row alone refused ({(str(error).splitlines() or [''])[0][:160]})",
            expected="any number of rows",
            remedy="export it with a free batch: dynamic_shapes=({0: torch.export.Dim('rows')},)",
        ) from error
    except (RuntimeError, ValueError, IndexError) as error:
        found, words = None, f"one row alone refused: {(str(error).splitlines() or [''])[0][:160]}"
    if found is None or found.dim() == 0 or (len(found) * count, *found.shape[1:]) != output.shape:
        raise ModelError(
            f"network {network.name!r}",
            found=words,
            expected="one row of output for each row of input",
            remedy="a squeeze() without a dimension takes a batch of one away too: write squeeze(1), or flatten(1)",
        )
    return found
