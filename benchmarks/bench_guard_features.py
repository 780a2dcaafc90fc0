"""What a guardrail costs: features beside the plain forward pass, memory against depth, certificates at full size.

Limits: features at most 1.15 times the plain forward pass of the same batch (float32, 32 x 64 tokens, caches off in
both); memory that features add not growing with the number of blocks; a certificate for 100,000 rows of dimension 4,096
within 60 seconds (CPU: what one thread takes on an idle machine) and 4 GB. Times are CPU seconds, medians of
alternating rounds in one run; ratios are what counts.

    python benchmarks/bench_guard_features.py [--short] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from cutaway.guard.certificate import certify
from cutaway.guard.detector import Detector, make_head
from cutaway.language.geometry import GeometryReader


def model():
    """The 260k-parameter decoder from CUTAWAY_DATA, else random weights of the same shape."""
    folder = Path(os.environ.get("CUTAWAY_DATA", "")) / "stories260k"
    if folder.is_dir():
        from cutaway.network.sources import load_model

        return load_model(folder).model, "stories260k"
    return llama(5), "random weights in the shape of stories260k"


def llama(blocks: int):
    """A random Llama of width 64 with this many blocks."""
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=64, intermediate_size=172, num_hidden_layers=blocks, num_attention_heads=8, num_key_value_heads=4,
        vocab_size=512, max_position_embeddings=512,
    )  # fmt: skip
    return transformers.LlamaForCausalLM._from_config(config, attn_implementation="eager").eval()


@torch.no_grad()
def features(rounds: int) -> dict:
    """CPU seconds of plain passes and of feature passes, alternating."""
    network, name = model()
    tokens = torch.randint(3, 500, (32, 64), generator=torch.Generator().manual_seed(0))
    reader = GeometryReader(network, tokens[:1])
    mask = torch.ones_like(tokens)
    work = {
        "plain": lambda: network(tokens, attention_mask=mask, use_cache=False),
        "plain without head": lambda: network.base_model(tokens, attention_mask=mask, use_cache=False),
        "features": lambda: reader.read(tokens, mask),
        "features of 1 block": lambda: reader.read(tokens, mask, layers=1),
        "features of 3 blocks": lambda: reader.read(tokens, mask, layers=3),
    }
    spent: dict[str, list[float]] = {k: [] for k in work}
    for turn in range(rounds + 1):
        for key, run in work.items():
            began = time.process_time()
            run()
            if turn:
                spent[key].append(time.process_time() - began)
    middle = {k: statistics.median(v) for k, v in spent.items()}
    ratios = [a / b for a, b in zip(spent["features"], spent["plain"], strict=True)]
    bare = [a / b for a, b in zip(spent["features"], spent["plain without head"], strict=True)]
    return {
        "model": name, "cpu_seconds": middle, "ratio": statistics.median(ratios),
        "ratio_without_head": statistics.median(bare),
    }  # fmt: skip


@torch.no_grad()
def memory() -> dict:
    """Bytes alive in tensors at the end of a feature pass beyond a plain one, by number of blocks."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Peak(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.live, self.peak = 0, 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            import weakref

            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.untyped_storage().nbytes():
                size = out.untyped_storage().nbytes()
                known = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
                if out.untyped_storage().data_ptr() not in known:
                    self.live += size
                    self.peak = max(self.peak, self.live)
                    weakref.finalize(out, self._gone, size)
            return out

        def _gone(self, size):
            self.live -= size

    peaks = {}
    tokens = torch.randint(3, 500, (16, 64), generator=torch.Generator().manual_seed(0))
    for blocks in (2, 8):
        network = llama(blocks)
        reader = GeometryReader(network, tokens[:1])
        with Peak() as plain:
            network.base_model(tokens, use_cache=False)
        with Peak() as ours:
            reader.read(tokens)
        peaks[blocks] = {"plain": plain.peak, "features": ours.peak, "added": ours.peak - plain.peak}
    return {
        "peak_bytes": peaks,
        "result_bytes_of_six_blocks": 6 * 16 * 7 * 4,
        "growth": peaks[8]["added"] - peaks[2]["added"],
    }


def certificate(rows: int, dimension: int) -> dict:
    """Wall and CPU seconds of a certificate from float32 rows near a subspace."""
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((64, dimension), dtype=np.float32)
    points = np.empty((rows, dimension), dtype=np.float32)
    for start in range(0, rows, 4096):
        stop = min(rows, start + 4096)
        points[start:stop] = rng.standard_normal((stop - start, 64), dtype=np.float32) @ basis / 8
        points[start:stop] += 0.1 * rng.standard_normal((stop - start, dimension), dtype=np.float32) + 0.2
    held = points[:1000] + 0.1 * rng.standard_normal((1000, dimension), dtype=np.float32)
    weight = rng.standard_normal((1, dimension)) / 64
    head = Detector(mean=np.zeros(dimension), scale=np.ones(dimension), head=make_head([(weight, np.array([3.0]))]))
    wall, cpu = time.perf_counter(), time.process_time()
    made = certify(head, -1.0, points, held)
    return {
        "rows": rows,
        "dimension": dimension,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "regions": {r.name: [r.status.value, r.worst, r.slack, r.containment] for r in made.regions},
    }


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and return 1 where a limit is missed by a clear margin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    size = (4000, 2048) if options.short else (100_000, 4096)
    found = {"features": features(10 if options.short else 30), "memory": memory(), "certificate": certificate(*size)}
    missed = []
    if found["features"]["ratio"] > 1.15 * 1.1:
        missed.append("features cost more than 1.15 times the plain pass")
    if found["memory"]["growth"] > 2 * found["memory"]["result_bytes_of_six_blocks"]:
        missed.append("memory grows with the number of blocks by more than the features themselves")
    if not options.short and (found["certificate"]["cpu_seconds"] > 60 * 1.1 or found["certificate"]["peak_gb"] > 4):
        missed.append("the certificate took more than 60 seconds or 4 GB")
    found["missed"] = missed
    print(json.dumps(found) if options.json else words(found))
    return 1 if missed else 0


def words(found: dict) -> str:
    """The result for people."""
    f, m, c = found["features"], found["memory"], found["certificate"]
    lines = [f"features on {f['model']}, 32 x 64 tokens (limit 1.15):"]
    lines += [f"  {k:<22}{1000 * v:8.1f} ms CPU" for k, v in f["cpu_seconds"].items()]
    lines.append(f"  ratio to the plain pass {f['ratio']:.3f}; to the pass without head {f['ratio_without_head']:.3f}")
    lines.append(
        f"memory added by features, 2 and 8 blocks: {[v['added'] for v in m['peak_bytes'].values()]} bytes "
        f"(six blocks of results take {m['result_bytes_of_six_blocks']})"
    )
    lines.append(
        f"certificate of {c['rows']} rows, dimension {c['dimension']}: {c['seconds']:.1f} s wall, "
        f"{c['cpu_seconds']:.1f} s CPU, peak {c['peak_gb']:.2f} GB (limits 60 s, 4 GB)"
    )
    lines += [f"  {k:<28}{v[0]:<10} worst {v[1]:.4g}" for k, v in c["regions"].items()]
    return "\n".join(lines + [f"MISSED: {x}" for x in found["missed"]])


if __name__ == "__main__":
    sys.exit(main())
