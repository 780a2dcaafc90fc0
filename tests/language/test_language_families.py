"""52 families of transformers: each is read whole, with the values of its own modules, or refused with a reason."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from cutaway.errors import CutawayError, InputError, ModelError
from cutaway.language.dimension import intrinsic_dimension
from cutaway.language.geometry import GeometryReader, language_geometry

pytest.importorskip("transformers", reason="needs the extra hf")

_PATH = Path(__file__).parents[2] / "benchmarks" / "bench_language_families.py"
_SPEC = importlib.util.spec_from_file_location("language_families", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
table = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(table)
FAMILIES, build, example = table.FAMILIES, table.build, table.example

QUICK = ["BART", "BLOOM", "DeepseekV3", "Gemma3n", "GptOss", "Jamba", "Mixtral", "ModernBERT", "OPT", "Phi3",
         "Qwen2Moe", "Qwen3Moe", "RWKV", "T5", "XLNet"]  # fmt: skip
REFUSED = {name: row for name, row in FAMILIES.items() if row[3] is None}
READ = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES if name not in REFUSED]
ROWS = [[5, 9, 3, 40, 41, 42, 7, 8, 17], [11, 12, 13], [90, 91, 92, 93, 94], [8, 4, 4, 71, 9, 33, 10]]


def naive_tokens(reader: GeometryReader, tokens: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """s and d of every block and token of one row, from the inputs of the model's own modules, one gate at a time."""
    seen: dict[str, list] = {}
    handles = [
        reader.model.get_submodule(path).register_forward_hook(
            lambda m, a, k, o, path=path: seen.setdefault(path, []).append((m, (*a, *k.values()))), with_kwargs=True
        )
        for path in {b.path for b in reader.blocks}
    ]
    with torch.no_grad():
        reader.model(tokens)
        for handle in handles:
            handle.remove()
        return [naive_block(*seen[b.path][b.call], b) for b in reader.blocks]


def naive_block(module, args, block) -> tuple[np.ndarray, np.ndarray]:
    states = args[0].reshape(-1, args[0].shape[-1]).double()
    if block.experts is None:
        own = module.double()
        jacobian = torch.autograd.functional.jacobian(lambda x: own(x[None, None])[0, 0], states[0])[: block.width]
        gates = torch.stack([own(x[None, None])[0, 0, : block.width] for x in states])
        module.float()
        distance = gates.abs() / jacobian.norm(dim=1)
        return (gates > 0).double().mean(1).numpy(), distance.amin(1).numpy()
    return naive_experts(module, states, *args[1:])


def naive_experts(module, states, index, weights):
    share, distance = np.zeros(len(states)), np.zeros(len(states))
    for t, x in enumerate(states):
        for k in range(index.shape[1]):
            weight = module.gate_up_proj[index[t, k]].detach().double()
            if module.is_transposed:
                weight = weight.T
            rows = weight[: len(weight) // 2] if module.is_concatenated else weight[::2]
            gates = rows @ x
            if module.has_bias:
                bias = module.gate_up_proj_bias[index[t, k]].detach().double()
                gates = gates + (bias[: len(rows)] if module.is_concatenated else bias[::2])
            part = float(weights[t, k] / weights[t].sum())
            share[t] += part * float((gates > 0).double().mean())
            distance[t] += part * min(abs(float(g)) / float(w.norm()) for g, w in zip(gates, rows, strict=True))
    return share, distance


@pytest.mark.parametrize("family", READ)
def test_a_family_is_read_whole_and_as_a_naive_transcription_says(family):
    tokens = example(family)
    reader = GeometryReader(build(family), tokens)
    assert len(reader.blocks) == FAMILIES[family][3]
    got = reader.read(tokens, per_token=True)
    assert got.share is not None and got.distance is not None
    for k, (share, distance) in enumerate(naive_tokens(reader, tokens)):
        np.testing.assert_allclose(got.share[0, k], share, atol=1.01 / reader.blocks[k].width)  # one gate at 0
        np.testing.assert_allclose(got.distance[0, k], distance, rtol=1e-3, atol=2e-6)
        assert abs(float(got.share[0, k].mean()) - share.mean()) < 1e-3


@pytest.mark.parametrize("family", READ)
def test_rows_of_a_family_do_not_depend_on_what_stands_beside_them(family):
    reader = GeometryReader(build(family), example(family))
    alone, together = (language_geometry(reader, ROWS, batch_size=n) for n in (1, 4))
    torch.testing.assert_close(alone.pooled, together.pooled, rtol=2e-3, atol=5e-5)
    torch.testing.assert_close(alone.hidden, together.hidden, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("family", READ)
def test_heads_count_tokens_of_their_own_row_padded_on_either_side(family):
    model, row = build(family), torch.tensor([ROWS[2]])
    if family == "RWKV":
        with pytest.raises(ModelError, match="found no attention"):
            intrinsic_dimension(model, row)
        return
    alone = intrinsic_dimension(model, row, every_token=True)
    assert int(alone.min()) >= 1 and int(alone.max()) <= 5
    assert alone.shape[1] == (1 if family == "Jamba" else 3)  # Jamba: the other blocks are recurrent
    for left, right in ((0, 3), (4, 0)):
        tokens = torch.nn.functional.pad(row, (left, right))
        mask = torch.nn.functional.pad(torch.ones_like(row), (left, right))
        got = intrinsic_dimension(model, tokens, mask, every_token=True)
        assert torch.equal(got[..., left : left + 5], alone)
        assert int(got.sum()) == int(alone.sum())
        assert torch.equal(intrinsic_dimension(model, tokens, mask), alone[..., -1])


def test_a_mask_with_holes_is_refused():
    with pytest.raises(InputError, match="the padding mask"):
        intrinsic_dimension(build("OPT"), torch.tensor([[4, 5, 6, 7]]), torch.tensor([[1, 0, 1, 1]]))


@pytest.mark.parametrize("family", REFUSED)
def test_what_has_no_mlp_blocks_is_refused_with_the_reason(family):
    why = r"the tokens; found torch.float32 of shape \(1, 3, 16, 16\)" if family == "ViT" else "no MLP block among"
    with pytest.raises(CutawayError, match=why):
        GeometryReader(build(family), example(family))


def test_a_gate_that_moves_with_the_token_is_refused():
    """Gemma 3n's sparse layers cut their gate at a quantile of its own outputs."""
    import transformers as tf

    options = {**FAMILIES["Gemma3n"][2], "activation_sparsity_pattern": [0.5, 0.0, 0.0]}
    model = tf.Gemma3nForCausalLM(tf.Gemma3nTextConfig(**options)).eval()
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\.gate_proj, whose output is changed by another value"):
        GeometryReader(model, example("Gemma3n"))


def test_heads_of_gpt_oss_agree_with_its_attention_without_the_sink():
    model, tokens = build("GptOss"), example("GptOss")
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attention = model(tokens, output_attentions=True).attentions
    want = [[sum(a > 0.1 * max(h[-1].tolist()) for a in h[-1].tolist()) for h in block[0]] for block in attention]
    assert intrinsic_dimension(model, tokens)[0].tolist() == want


def test_a_forward_that_fails_is_an_error_of_the_model():
    import transformers as tf

    broken = tf.DeepseekV3Config(**{**FAMILIES["DeepseekV3"][2], "num_key_value_heads": 128})
    with pytest.raises(ModelError, match="its forward on token ids .* raised RuntimeError"):
        intrinsic_dimension(tf.DeepseekV3ForCausalLM(broken).eval(), example("DeepseekV3"))
