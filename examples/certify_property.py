"""Prove a property of a network, refute another, and look at the witness.

    python examples/certify_property.py

A network learns whether a point lies in the unit disc. Property one: near the centre it says "inside". Property two:
so it does all over the square, which is wrong, and the witness is printed. With CUTAWAY_DATA the same is done for an
ACAS Xu network (`cutaway certify NET.onnx SPEC.vnnlib` is the same from the command line).
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.verify.replay import module_replay
from cutaway.robustness.verify.verdict import Verdict, VerifySettings, verify
from cutaway.robustness.vnnlib import parse_vnnlib

PROPERTY = """
(declare-const X_0 Real) (declare-const X_1 Real) (declare-const Y_0 Real)
(assert (>= X_0 -{size})) (assert (<= X_0 {size}))
(assert (>= X_1 -{size})) (assert (<= X_1 {size}))
(assert (<= Y_0 0))   ; is there a point that the network calls outside?
"""


def disc_network(seed: int = 0) -> nn.Sequential:
    """Trained to be positive inside the unit disc and negative outside."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 1))
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(400):
        x = 4 * torch.rand(256, 2, generator=generator) - 2
        inside = (x.norm(dim=1, keepdim=True) < 1).float()
        loss = nn.functional.binary_cross_entropy_with_logits(model(x), inside)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return model.eval()


def tell(name: str, verdict: Verdict) -> None:
    """One line a verdict."""
    print(f"{name}: {verdict.status.value} by {verdict.decided_by}, {verdict.parts} parts, {verdict.seconds:.2f} s")
    if verdict.witness is not None and verdict.output is not None:
        print(f"  witness {verdict.witness.tolist()} gives {verdict.output.tolist()}")


def main() -> list[Verdict]:
    """Both properties; gives the verdicts."""
    model = disc_network()
    net = bound_network(model, torch.zeros(1, 2))
    verdicts = []
    for name, size in (("near the centre", 0.4), ("all over the square", 2.0)):
        query = parse_vnnlib(PROPERTY.format(size=size))
        verdicts.append(verify(net, query, module_replay(model, (2,)), VerifySettings(timeout=20)))
        tell(name, verdicts[-1])
    folder = Path(os.environ.get("CUTAWAY_DATA", "")) / "vnncomp2022" / "acasxu"
    if os.environ.get("CUTAWAY_DATA") and folder.exists():
        from cutaway.robustness.verify.onnx_query import verify_vnnlib

        for network, number in (("3_7", 3), ("1_9", 3)):
            file = folder / "onnx" / f"ACASXU_run2a_{network}_batch_2000.onnx"
            verdict, _ = verify_vnnlib(file, folder / "vnnlib" / f"prop_{number}.vnnlib", VerifySettings(timeout=60))
            tell(f"ACAS Xu {network}, property {number}", verdict)
    return verdicts


if __name__ == "__main__":
    main()
