"""Prune a network to a thirtieth by what is alive, see what zeros alone would have claimed, and write it to a file:
with its zeros packed, and as a smaller network without its dead units.

python examples/prune_and_export.py
"""

from __future__ import annotations

from pathlib import Path

from cutaway.demo import train_digits
from cutaway.instruments import EffectiveSparsity
from cutaway.network import Network
from cutaway.structure.export import export_pruned
from cutaway.structure.live import live_connections
from cutaway.structure.pruning import apply_masks, keep_best, magnitude, prune_to_effective
from cutaway.structure.shrinking import save_shrunk, without_dead_units
from cutaway.structure.wiring import wire


def main(*, epochs: int = 3, folder: str = ".") -> tuple[float, float]:
    """Print what is found; returns the direct and the effective compression of the pruned network."""
    model, data = train_digits(epochs=epochs)
    network = Network(model, data.inputs[:2], name="digits CNN")
    wiring = wire(network)
    scores = magnitude(wiring)
    by_zeros = live_connections(wiring, keep_best(scores, wiring.total // 30))
    print(
        f"one weight in 30 kept: compressed {by_zeros.direct:.1f}x by its zeros, {by_zeros.effective:.1f}x by its paths"
    )
    apply_masks(model, prune_to_effective(wiring, scores, 30))
    reading = EffectiveSparsity().measure(network, data)
    print(reading.summary())
    made = export_pruned(network, data.inputs[:100], Path(folder) / "pruned.safetensors")
    print(f"{made.bytes_dense:,} bytes become {made.bytes_file:,}")
    print(f"{made.operations_dense:,} multiply-adds become {made.operations:,}, for a library that skips zeros")
    small = without_dead_units(network, data.inputs[:100])
    print(small.told())
    print(f"written to {save_shrunk(small, data.inputs, Path(folder) / 'small.pt2').name}")
    return reading.figure("direct_compression").value, reading.figure("effective_compression").value


if __name__ == "__main__":
    main()
