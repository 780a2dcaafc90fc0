"""Every instrument keeps to its memory budget on networks of ordinary size: `--budget 500MB`, a process an instrument.

    python benchmarks/bench_budgets.py [--cap CPU_SECONDS] [--only NAME,...] [--table]
    python benchmarks/bench_budgets.py --short

Networks with random weights: a ResNet-50 (Hugging Face's `ResNetForImageClassification`, 224 x 224, 4 images) and a
Llama of 86 million parameters (4 prompts of 128 tokens). The instrument first measures a tiny network of the same kind,
so that the libraries it loads are there; then the peak of resident memory (Linux: /proc, reset before) above what the
process holds with model and data. A measurement that is not over after --cap CPU seconds is ended: its peak so far
counts, and is marked. Exits with 1 where one is over the budget, with 2 without transformers or Linux. `--short`: two
instruments and a small network, 200MB.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BUDGET = "500MB"
WORKER = """
import json, os, signal, sys, threading, time
import torch
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from bench_budgets import network_and_data, resident
from cutaway import registry
from cutaway.engines.budget import parse_budget
from cutaway.network import Network
name, kind, cap = {name!r}, {kind!r}, {cap}
instrument = registry.instrument(name)()
def measure(kind):
    model, data = network_and_data(kind)
    network = Network(model, data.inputs[:2])
    before, began = resident(reset=True), time.process_time()
    said = {{"status": "ended", "cpu": float(cap)}}
    def tell():
        print(json.dumps(said | {{"peak": resident() - before}}), flush=True)
    def end():
        while time.process_time() - began < cap:
            time.sleep(0.2)
        tell()
        os._exit(0)
    if kind == {kind!r}:
        threading.Thread(target=end, daemon=True).start()
    try:
        reading = instrument.measure(network, data, budget=parse_budget({budget!r}))
        said |= {{"status": str(reading.status.value), "reason": reading.reason}}
    except Exception as error:
        said |= {{"status": "failed", "reason": f"{{type(error).__name__}}: {{error}}"}}
    said["cpu"] = time.process_time() - began
    return tell
measure("tiny " + kind.split()[-1])
measure(kind)()
os._exit(0)
"""


def resident(reset: bool = False) -> int:
    """Peak resident bytes of this process since the last reset; with `reset`, the bytes now, from which the peak counts
    again."""
    if reset:  # what was freed goes back to the system first, or it would hide what is taken next
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:" if reset else "VmHWM:"))


def network_and_data(kind: str) -> tuple[Any, Any]:
    """The model and four rows for it: "resnet", "llama", or a tiny one of the same architecture."""
    import torch

    torch.manual_seed(0)
    tiny = kind.startswith("tiny")
    return _llama(tiny) if kind.endswith("llama") else _resnet(tiny)


def _resnet(tiny: bool) -> tuple[Any, Any]:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    from cutaway.data import Dataset

    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]} if tiny else {}
    model = ResNetForImageClassification(ResNetConfig(num_labels=10, **sizes)).eval()

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x).logits

    side = 16 if tiny else 224
    return Logits().eval(), Dataset(
        name="random",
        inputs=torch.rand((4, 3, side, side)),
        labels=torch.arange(4) % 2,
        num_classes=10,
        value_range=(0.0, 1.0),
    )


def _llama(tiny: bool) -> tuple[Any, Any]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from cutaway.data import Dataset

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if not tiny:
        sizes = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=512, **sizes)).eval()
    tokens = torch.randint(0, 512, (4, 8 if tiny else 128))
    return model, Dataset(name="random", inputs=tokens, labels=torch.arange(4) % 2, num_classes=2)


def run(name: str, kind: str, budget: str, cap: float) -> dict[str, Any]:
    """One instrument on one network in a process of its own."""
    code = WORKER.format(here=str(Path(__file__).parent), name=name, kind=kind, budget=budget, cap=cap)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"status": "crash", "reason": done.stderr[-300:], "peak": 0, "cpu": 0.0}
    return json.loads(lines[-1])


def row(name: str, kind: str, found: dict[str, Any], over: bool) -> str:
    """A row of the table, in Markdown."""
    if found["status"] == "unsupported":
        return f"| {name} | {kind} | | | does not apply |"
    said = {"ended": "not over: peak so far", "failed": found.get("reason", ""), "crash": "crash"}.get(
        found["status"], ""
    )
    peak = f"{found['peak'] / 1e6:.0f} MB"
    return f"| {name} | {kind} | {peak} | {found['cpu']:.0f} | {said}{' OVER' if over else ''} |"


def main() -> int:
    """Measure, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cap", type=float, default=120.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--networks", default="resnet,llama")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    if importlib.util.find_spec("transformers") is None or not Path("/proc/self/clear_refs").exists():
        print("not run: needs transformers (extra hf) and Linux", file=sys.stderr)
        return 2
    from cutaway import registry
    from cutaway.engines.budget import parse_budget

    names = options.only.split(",") if options.only else sorted(registry.names())
    budget, jobs = BUDGET, [(name, kind) for kind in options.networks.split(",") for name in names]
    if options.short:
        budget, jobs, options.cap = BUDGET, [("accuracy", "resnet"), ("sparsity", "llama")], 10.0
    print(f"budget {budget}, CPU seconds at most {options.cap:g}\n", flush=True)
    print(
        "| instrument | network | peak above model and data | CPU s | |\n| --- | --- | ---: | ---: | --- |", flush=True
    )
    bad = []
    for name, kind in jobs:
        found = run(name, kind, budget, options.cap)
        over = found["peak"] > parse_budget(budget)
        bad += [name] if over or found["status"] in ("crash", "failed") else []
        print(row(name, kind, found, over), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
