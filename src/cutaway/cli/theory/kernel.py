"""`cutaway theory kernel`: the closed-form kernels of an infinitely wide network on data, and what they find easy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Budget, Device, Seed, budget_bytes, check_picture
from cutaway.cli.subject import noted
from cutaway.cli.theory._options import at_most, usual_number
from cutaway.cli.theory._series import PICTURES, save, series_of, theory_payload
from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.kernels import LabelFit

app = new_app("theory kernel")
USUAL = 200  # rows
_MATRICES = 4  # of all pairs of rows at once: two kernels, and what eigenvalues and regression take beside them


@app.default
def kernel(
    data: str = "digits",
    *,
    num: int | None = None,
    split: str = "train",
    depth: int = 2,
    activation: str = "relu",
    kernel_size: int = 0,
    pooling: bool = False,
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
    ridge: float = 1e-4,
    seed: Seed = 0,
    device: Device = "cpu",
    budget: Budget = None,
    out: Path | None = None,
) -> Outcome:
    """NNGP and NTK of a network of infinite width: eigenvalues, alignment with the labels, regression.

    Every other row of each class is learned from, the rest are judged; beside both figures stands what labels in
    random order give. Worked out on the device, in float64. Without --num, of 200 rows, or all where there are fewer.

    Parameters
    ----------
    data
        A named set or a path, with labels.
    num
        How many rows of the data to use.
    split
        Which split of a named set: train or test.
    depth
        Hidden layers.
    activation
        relu, erf or gelu.
    kernel_size
        Side of convolutions (odd); 0 is fully connected.
    pooling
        Of convolutions: mean over all pixels before the output, instead of flattening.
    weight_variance
        Variance of hidden weights times the fan-in.
    bias_variance
        Variance of the biases.
    ridge
        Of the regression, as a share of the kernel's mean diagonal.
    out
        File (.png, .pdf, .svg) for the picture of the eigenvalues.
    """
    import numpy as np
    import torch

    from cutaway.data import load_data
    from cutaway.engines.budget import require_room
    from cutaway.kernels import InfiniteNetwork, class_halves, effective_rank, first_equal, label_fit, top_mass
    from cutaway.network.sources import usable_device

    check_picture("--out", out, PICTURES)
    usable_device(device, in_float64=True)
    finite = all(map(math.isfinite, (weight_variance, bias_variance, ridge)))
    few = num is not None and num < 4
    if not finite or weight_variance <= 0 or bias_variance < 0 or ridge < 0 or few:
        raise InputError(
            "command theory kernel",
            found=f"--weight-variance {weight_variance:g}, --bias-variance {bias_variance:g}, --ridge {ridge:g}, "
            f"--num {USUAL if num is None else num}",
            expected="a variance of weights above 0, one of biases and a ridge of at least 0, four rows or more",
            remedy="give such numbers",
        )
    if pooling and kernel_size == 0:
        raise InputError(
            "option --pooling",
            found="a fully connected network, which has no positions to pool",
            expected="--kernel-size beside it",
            remedy="give --kernel-size 3, or leave --pooling out",
        )
    network = InfiniteNetwork(
        depth=depth,
        activation=activation,
        weight_variance=weight_variance,
        bias_variance=bias_variance,
        kernel_size=kernel_size,
        pooling=pooling,
    )
    wanted = usual_number(data, split, USUAL) if num is None else num
    rows = noted(load_data(data, split=split, num=wanted, seed=seed))
    rows = at_most(rows, USUAL if num is None else num, seed)
    if rows.labels is None:
        raise InputError(f"data {rows.name!r}", found="no labels", expected="labelled data", remedy="name another set")
    first = first_equal(rows.inputs)
    copies = int((first != np.arange(len(first))).sum())
    learn, judge = class_halves(rows.labels.numpy(), first)
    if not len(judge):
        raise InputError(
            f"data {rows.name!r}",
            found=f"{len(first)} rows, of which {copies} equal an earlier one",
            expected="two rows that differ, one to learn from and one to judge",
            remedy="give more rows, each of them once",
        )
    room = budget_bytes(budget)
    if room is not None:
        require_room(f"kernels of {len(first)} rows", 8 * _MATRICES * len(first) ** 2, room)
        room -= 2 * 8 * len(first) ** 2
    series, figures, lines = {}, [], []
    inputs = rows.inputs.to(device).double()
    for name, found in zip(("nngp", "ntk"), network.kernels(inputs, budget=room)):
        values = torch.linalg.eigvalsh(found).flip(0).cpu()
        series[name] = series_of(range(1, len(values) + 1), values.tolist())
        fit = label_fit(found, rows.labels, learn, judge, ridge=ridge, seed=seed, budget=room)
        told = {
            "alignment": fit.alignment,
            "alignment_permuted": fit.permuted_alignment,
            "effective_rank": effective_rank(values),
            "top_mass": top_mass(values),
            "accuracy": fit.right,
            "accuracy_low": fit.interval[0],
            "accuracy_high": fit.interval[1],
            "accuracy_permuted": fit.permuted_right,
            "floor": fit.floor,
        }
        figures += [{"name": f"{name}_{key}", "value": value} for key, value in told.items()]
        lines.append(f"{name.upper():4}  {_line(fit, told['effective_rank'])}")
    if copies:
        lines.append(f"{copies} of {len(first)} rows equal an earlier one: the regression leaves them out")
    if out is not None:
        from cutaway.kernels.chart import eigenvalue_figure

        save(eigenvalue_figure(series), out)
    return Outcome(payload=theory_payload(series, figures=figures), words="\n".join(lines))


def _line(fit: LabelFit, rank: float) -> str:
    low, high = fit.interval
    line = f"alignment with the labels {fit.alignment:.3f} (in random order {fit.permuted_alignment:.3f}), {rank:.1f} "
    line += f"directions, right on {fit.right:.1%} ({low:.1%} to {high:.1%}) of {fit.judged} rows not learned from "
    line += f"(in random order {fit.permuted_right:.1%})"
    return line + (f"; eigenvalues raised to {fit.floor:.2g} (rows alike?)" if fit.floor else "")
