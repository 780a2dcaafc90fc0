"""Streams of random numbers: one a place, none like another, none left to seed arithmetic."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cutaway import registry, seeds
from cutaway.evidence.null import null_seed
from cutaway.instrument import Context
from cutaway.robustness import attacks

WHOLE = st.integers(min_value=-(2**70), max_value=2**70)
PATHS = st.lists(WHOLE | st.text(max_size=5), max_size=4).map(tuple)


def first(source) -> tuple:
    """The first draws of a stream, as what tells streams apart."""
    if isinstance(source, torch.Generator):
        return tuple(torch.randint(2**31, (3,), generator=source).tolist())
    if isinstance(source, np.random.SeedSequence):
        return tuple(np.random.default_rng(source).integers(2**31, size=3).tolist())
    return first(torch.Generator().manual_seed(source))


@given(PATHS, PATHS, WHOLE, WHOLE)
def test_streams_coincide_only_where_seed_and_path_do(left, right, one, other):
    same = (one, left) == (other, right)
    assert (seeds.number(one, *left) == seeds.number(other, *right)) is same
    assert (first(seeds.generator(one, *left)) == first(seeds.generator(other, *right))) is same


def test_a_place_within_a_path_is_not_another_path():
    assert seeds.number(1, "a", "b") != seeds.number(1, "ab") != seeds.number(1, "a', 'b")
    assert seeds.number(1, 23) != seeds.number(12, 3)


def test_numbers_of_numpy_and_torch_are_seeds_like_any_other():
    for seed in (np.int64(7), np.uint8(7), torch.tensor(7)):
        assert seeds.number(seed, "x", np.int32(2)) == seeds.number(7, "x", 2)
    with pytest.raises(TypeError):
        seeds.number(1.5)  # pyright: ignore[reportArgumentType]


def test_the_whole_state_is_drawn_and_not_32_bits():
    """The words are where torch keeps them: the state after `manual_seed` comes out when its own words go in."""
    from cutaway._compat import mersenne_generator

    words = np.empty(624, dtype=np.uint32)
    words[0] = 5
    for i in range(1, 624):  # Matsumoto and Nishimura 1998, init_genrand
        before = int(words[i - 1])
        words[i] = (1812433253 * (before ^ (before >> 30)) + i) & 0xFFFFFFFF
    ours, theirs = mersenne_generator(words), torch.Generator().manual_seed(5)
    assert torch.equal(torch.randn(2000, generator=ours), torch.randn(2000, generator=theirs))
    assert first(seeds.number(1) % 2**32) != first(seeds.generator(1))


def test_no_two_streams_of_the_package_coincide():
    """Instruments, attacks, nulls, training and simulations under the seeds 0 to 5, beside the plain seeds 0 to 3000
    (which name data rows and models)."""
    kinds = [getattr(attacks, word) for word in attacks.__all__]
    names = {k.name for k in kinds if isinstance(k, type) and issubclass(k, attacks.Attack) and "name" in vars(k)}
    assert len(names) >= 5
    streams: list = list(range(3000))
    for seed in range(6):
        streams += [Context(seed=seed, name=name).generator(i) for name in registry.names() for i in range(3)]
        streams += [seeds.generator(seed, "attack", name, start) for name in names for start in (0, 1, 256)]
        streams += [null_seed(seed, replicate) for replicate in range(39)]
        streams += [seeds.generator(null_seed(seed, r), "twin") for r in range(39)]
        streams += [seeds.generator(seed, "training", kind, step) for kind in ("order", "terms") for step in range(20)]
        streams += [seeds.number(seed, "training", "noise", step) for step in range(20)]
        streams += [seeds.generator(seed, "simulation", i) for i in range(20)]
    seen = [first(s) for s in streams]
    assert len(set(seen)) == len(seen)


def test_no_seed_is_made_by_arithmetic():
    """The way two streams come to coincide: `seed * constant + offset`. Reproductions may name their runs so."""
    root = Path(seeds.__file__).parent
    pattern = re.compile(
        r"(manual_seed|default_rng|SeedSequence)\([^)\n]*seed[^)\n]*[*+]|\bseed *[*+] *\w|[*+] *seed\b"
    )
    files = [f for f in root.rglob("*.py") if "reproductions" not in f.parts]
    found = {str(f.relative_to(root)) for f in files if pattern.search(f.read_text())}
    assert not found


def test_no_draw_follows_the_default_type_of_the_host_program():
    """Under `torch.set_default_dtype` another type is drawn otherwise, and bfloat16 cannot count rows."""
    draws = {"rand", "randn", "linspace", "normal", "logspace"}
    loose = []
    for path in sorted(Path("src/cutaway").rglob("*.py")):
        for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
            named = {keyword.arg for keyword in call.keywords}
            if ast.unparse(call.func) in {f"torch.{d}" for d in draws} and not named & {"dtype", "out"}:
                loose += [] if "reproductions" in path.parts else [f"{path}:{call.lineno}"]
    assert not loose


def test_the_default_type_of_the_host_program_changes_no_reading():
    from cutaway.data import Dataset
    from cutaway.network import Network

    inputs = torch.rand(60, 1, 4, 4, dtype=torch.float32)
    data = Dataset(name="d", inputs=inputs, labels=torch.arange(60) % 3, value_range=(0.0, 1.0))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    network = Network(model.eval(), inputs[:2])
    settings: dict[str, dict[str, Any]] = {"robust-accuracy": {"radius": 0.3}, "local-complexity": {"num_counted": 50}}
    for instrument in (registry.instrument(name)(**named) for name, named in settings.items()):
        read = []
        for host in (torch.float32, torch.float64, torch.bfloat16):
            torch.set_default_dtype(host)
            try:
                read.append(instrument.measure(network, data, intervals=False).values)
            finally:
                torch.set_default_dtype(torch.float32)
        assert read[0].equals(read[1]) and read[0].equals(read[2])
