"""A memory budget holds and costs little: a scan of ResNet-20 (CIFAR shape), measured in processes of their own.

Limits: peak resident memory above model, data and imports under the budget; CPU seconds at most 1.3x those without a
budget. The long form takes 10,000 images and 2 GB, the short one 1,000 images and 500 MB. No nulls.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

COST_LIMIT = 1.3

WORKER = """
import json, resource, sys, tempfile, time
import torch
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from bench_budget import resnet20
from cutaway.data import Dataset
from cutaway.engines.budget import peak_bytes
from cutaway.network import Network
from cutaway.scanning import Settings, default_instruments, scan
rows, budget = {rows}, {budget}
generator = torch.Generator().manual_seed(0)
inputs = torch.rand((rows, 3, 32, 32), generator=generator)
data = Dataset(
    name="random", inputs=inputs, labels=torch.arange(rows) % 10, num_classes=10, value_range=(0.0, 1.0)
)
network = Network(resnet20(), data.inputs[:2])
chosen = [i for i in default_instruments(data) if i.name in {only!r}]
list(network.stream(data.inputs[:1]))
before, began = peak_bytes(), time.process_time()
with tempfile.TemporaryDirectory() as folder:
    scan(network, data, folder + "/run", instruments=chosen, settings=Settings(nulls=0, budget=budget))
print(json.dumps({{"peak": peak_bytes() - before, "cpu": time.process_time() - began}}))
"""
ONLY = ("accuracy", "sparsity", "local-complexity", "boundary-distance", "robust-accuracy", "neural-collapse")


def resnet20():
    """ResNet-20 of He et al. 2016 with batch norm, untrained, in evaluation mode."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inside: int, outside: int, stride: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)])
            plain = stride == 1 and inside == outside
            self.short = nn.Identity() if plain else nn.Conv2d(inside, outside, 1, stride, bias=False)

        def forward(self, x):
            y = torch.relu(self.norms[0](self.first(x)))
            return torch.relu(self.norms[1](self.second(y)) + self.short(x))

    torch.manual_seed(0)
    widths = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
    body = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *(Block(*w) for w in widths)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


def measure(rows: int, budget: int | None, only: tuple[str, ...]) -> dict[str, float]:
    """Peak bytes above the start and CPU seconds of one scan in a fresh process."""
    code = WORKER.format(here=str(__file__).rsplit("/", 1)[0], rows=rows, budget=budget, only=only)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tempfile.gettempdir()
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def main() -> int:
    """Measure and compare."""
    short = "--short" in sys.argv
    rows, budget = (1000, 500 * 10**6) if short else (10_000, 2 * 10**9)
    only = ("accuracy", "sparsity") if short else ONLY
    bounded, free = measure(rows, budget, only), measure(rows, 64 * 10**9, only)
    ratio = bounded["cpu"] / free["cpu"]
    print(f"{rows} images, budget {budget / 1e9:g} GB: peak {bounded['peak'] / 1e9:.2f} GB above the start")
    print(
        f"CPU {bounded['cpu']:.1f} s, without a budget {free['cpu']:.1f} s ({free['peak'] / 1e9:.2f} GB): {ratio:.2f}x"
    )
    return int(bounded["peak"] > budget or ratio > COST_LIMIT * (1.15 if short else 1.0))


if __name__ == "__main__":
    sys.exit(main())
