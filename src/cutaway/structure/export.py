"""A pruned network as a file: only the weights that do something, with its size and its operations counted.

Weights on no path are dropped. Those that leave a constant unit (one that only biases feed) add a constant to what
follows: it is put into the bias of their layer, and where it is not the same at every position (padding) they stay. The
network without them is compared with the original before anything is written.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cutaway.errors import ClaimError, FileError
from cutaway.files import atomic, check_size, room
from cutaway.network import Network
from cutaway.network.graph.operators import apply_node
from cutaway.structure.live import Live, live_connections
from cutaway.structure.spread import WEIGHTS
from cutaway.structure.wiring import Wiring, unit_dim, wire

FORMAT = "cutaway-pruned-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """weights, not_zero, active: how many weights there are, are not zero, and lie on a path. kept: how many the file
    holds. bytes_dense, bytes_file: the parameters' size, and the file's. operations_dense, operations: multiply-adds
    of one sample through all weights, and through those kept (padding counted in). deviation: largest difference of
    the outputs from the original network's on the rows given, over their largest entry."""

    weights: int
    not_zero: int
    active: int
    kept: int
    bytes_dense: int
    bytes_file: int
    operations_dense: int
    operations: int
    deviation: float


def checked_deviation(model: nn.Module, network: Network, rows: Tensor, tolerance: float, what: str) -> float:
    """Largest difference of `model`'s outputs on `rows` (n, ...) from the network's, by the network's largest.

    Exact on these rows. Raises `ClaimError` above `tolerance`, naming `what`. Cost: two passes of the rows. Source:
    ours.
    """
    with torch.no_grad():
        ours, theirs = Network(model, network.example, probe=False).outputs(rows), network.outputs(rows)
    deviation = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30))
    if not deviation <= tolerance:
        raise ClaimError(
            what,
            found=f"outputs that differ by {deviation:.2g}",
            expected=f"the same to {tolerance:g}",
            remedy="please report the network: an operator was followed wrongly",
        )
    return deviation


def export_pruned(network: Network, rows: Tensor, path: str | Path, *, tolerance: float = 1e-4) -> Exported:
    """Write what does something in `network` to `path` (safetensors; tensors less than half full as values and places).

    rows: inputs (n, ...) on which the outputs are compared. Raises `ClaimError` where they differ by more than
    `tolerance` of their largest entry, `UnsupportedOperator`, `ModelError` as `wire`. The network is left as it is.
    Cost: one export, a few passes of one sample, two passes of the rows.
    The comparison is an estimate: it is made on these rows alone. Source: ours.
    """
    from safetensors.torch import save

    wiring = wire(network)
    live = live_connections(wiring)
    model, kept = slimmed(network, wiring, live)
    deviation = checked_deviation(model, network, rows, tolerance, "the network without its idle weights")
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    dense = sum(t.numel() * t.element_size() for t in state.values())
    record = Exported(
        weights=wiring.total,
        not_zero=sum(live.kept.values()),
        active=live.num_active,
        kept=sum(kept.values()),
        bytes_dense=dense,
        bytes_file=0,
        operations_dense=sum(w.values.numel() * wiring.positions(name) for name, w in wiring.weights.items()),
        operations=sum(count * wiring.positions(name) for name, count in kept.items()),
        deviation=deviation,
    )
    tensors, shapes = _packed(state)
    facts = {"format": FORMAT, "shapes": json.dumps(shapes), "record": json.dumps(asdict(record))}
    content = save(tensors, metadata=facts)
    with atomic(Path(path)) as temporary:
        temporary.write_bytes(content)
    return Exported(**{**asdict(record), "bytes_file": len(content)})


def load_pruned(path: str | Path) -> dict[str, Tensor]:
    """The state of the network in a file of `export_pruned`, dense, for `model.load_state_dict`. Raises `FileError`.

    Every tensor has the shape that it has in the network.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            facts = file.metadata() or {}
            if facts.get("format") != FORMAT:
                raise FileError(
                    f"file {str(path)!r}",
                    found="another format",
                    expected=FORMAT,
                    remedy="give a file that export_pruned wrote, or export the network again",
                )
            shapes = json.loads(facts["shapes"])
            dense = sum(torch.Size(shape).numel() for shape in shapes.values())
            check_size(f"file {str(path)!r}", Path(path).stat().st_size + 8 * dense, room(), "unpacked")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise FileError(
            f"file {str(path)!r}",
            found=str(error)[:200],
            expected="what export_pruned wrote",
            remedy="write it again with export_pruned",
        ) from error
    state = {name: tensor for name, tensor in tensors.items() if not name.endswith(("::values", "::places"))}
    for name, shape in shapes.items():
        values, places = tensors.get(f"{name}::values"), tensors.get(f"{name}::places")
        size = int(torch.Size(shape).numel())
        if (
            values is None
            or places is None
            or len(values) != len(places)
            or (places >= size).any()
            or (places < 0).any()
        ):
            raise FileError(
                f"file {str(path)!r}",
                found=f"tensor {name!r} is not whole",
                expected="values and places",
                remedy="write it again with export_pruned",
            )
        flat = torch.zeros(size, dtype=values.dtype)
        flat[places.long()] = values
        state[name] = flat.reshape(shape)
    return state


def slimmed(network: Network, wiring: Wiring, live: Live) -> tuple[nn.Module, dict[str, int]]:
    """A copy whose idle weights are zero, and how many of each stay."""
    model = copy.deepcopy(network.model)
    _make_permanent(model)
    named, kept = dict(model.named_parameters()), dict(live.kept)
    for name, weight in wiring.weights.items():
        idle = (weight.values != 0) & ~live.active[name]
        if name not in named or not bool(idle.any()):
            continue
        added = [_constant_part(wiring, live, index, turned, weight.values * idle) for index, turned in weight.nodes]
        if any(bool(part.any()) for part in added) and not _into_bias(model, name, wiring, live, added):
            continue
        with torch.no_grad():
            named[name].masked_fill_(idle, 0.0)
        kept[name] = live.kept[name] - int(idle.sum())
    return model, kept


def _constant_part(wiring: Wiring, live: Live, index: int, turned: bool, idle: Tensor) -> Tensor:
    """What the idle weights add to an operator's value where that leads to an output: the same on every input."""
    node = wiring.graph.nodes[index]
    source = node.inputs[0]
    fixed = wiring.values[source] * ~live.reached[source]
    key = WEIGHTS[node.op]
    if node.op == "embedding":
        return torch.zeros(())
    return (
        apply_node(replace(node, constants={key: (idle.mT if turned else idle).to(fixed)}), [fixed])
        * live.needed[index]
    )


def _into_bias(model: nn.Module, name: str, wiring: Wiring, live: Live, added: list[Tensor]) -> bool:
    """Put what idle weights add into the bias of the linear or convolution module that has them, where it is the same
    at every position; whether that was possible."""
    module = dict(model.named_modules())[name.rpartition(".")[0]]
    if len(added) != 1 or not isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return False
    index, _ = wiring.weights[name].nodes[0]
    dim = unit_dim(wiring.graph.nodes[index])
    rows, matters = (t.movedim(dim, 0).flatten(1) for t in (added[0], live.needed[index]))
    high = rows.masked_fill(~matters, -torch.inf).amax(dim=1)
    low = rows.masked_fill(~matters, torch.inf).amin(dim=1)
    shift = torch.where(matters.any(dim=1), high, 0)
    if not torch.allclose(shift, torch.where(matters.any(dim=1), low, 0), rtol=1e-6, atol=0):
        return False
    with torch.no_grad():
        if module.bias is None:
            module.bias = nn.Parameter(torch.zeros_like(module.weight[:, 0].flatten(1)[:, 0]))
        module.bias.add_(shift.to(module.bias))
    return True


def _make_permanent(model: nn.Module) -> None:
    """Masks of `torch.nn.utils.prune` become zeros."""
    from torch.nn.utils import prune

    for module in model.modules():
        for name in [n.removesuffix("_mask") for n in dict(module.named_buffers(recurse=False)) if n.endswith("_mask")]:
            if f"{name}_orig" in dict(module.named_parameters(recurse=False)):
                prune.remove(module, name)


def _packed(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """Tensors less than half full as values and places, and the shapes of those."""
    tensors, shapes = {}, {}
    for name, tensor in state.items():
        places = tensor.flatten().nonzero().flatten()
        if 2 * len(places) >= tensor.numel() or tensor.numel() < 64:
            tensors[name] = tensor
            continue
        shapes[name] = list(tensor.shape)
        tensors[f"{name}::values"] = tensor.flatten()[places]
        tensors[f"{name}::places"] = places.to(torch.int32 if tensor.numel() < 2**31 else torch.int64)
    return tensors, shapes
