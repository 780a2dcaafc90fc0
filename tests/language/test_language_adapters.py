"""The map that is applied counts: adapters merged and unmerged give the same features; what is no map is refused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from cutaway.errors import ModelError
from cutaway.language.dimension import intrinsic_dimension
from cutaway.language.geometry import GeometryReader

transformers = pytest.importorskip("transformers", reason="needs the extra hf")

TOKENS = torch.tensor([[5, 9, 3, 40, 41, 42, 7, 8, 17]])
SIZES = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0}  # fmt: skip


class LowRank(nn.Module):
    """base(x) + B A x, as adapters are kept beside a frozen map; with `weight` as some libraries show the base's."""

    def __init__(self, base: nn.Linear, shows_weight: bool = False):
        super().__init__()
        self.base, self.down = base, nn.Linear(base.in_features, 4, bias=False)
        self.up = nn.Linear(4, base.out_features, bias=False)
        if shows_weight:
            self.weight = base.weight

    def forward(self, x):
        return self.base(x) + 2.0 * self.up(self.down(x))

    def merged(self) -> torch.Tensor:
        return self.base.weight + 2.0 * self.up.weight @ self.down.weight


class Scaled(nn.Module):
    """Scales what goes in, or what comes out, by a vector (IA3)."""

    def __init__(self, base: nn.Linear, inside: bool):
        super().__init__()
        self.base, self.inside = base, inside
        self.scale = nn.Parameter(1 + torch.rand(base.in_features if inside else base.out_features))

    def forward(self, x):
        scale = torch.ones_like(self.scale) * self.scale
        return self.base(x * scale) if self.inside else self.base(x) * scale

    def merged(self) -> torch.Tensor:
        return self.base.weight * (self.scale if self.inside else self.scale[:, None])


class Int8(nn.Module):
    """A weight in whole numbers with a scale a row, made whole again when it is applied."""

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.register_buffer("scale", base.weight.detach().abs().amax(1, keepdim=True) / 127)
        self.register_buffer("weight", (base.weight.detach() / self.scale).round().to(torch.int8))

    def forward(self, x):
        return nn.functional.linear(x, self.merged())

    def merged(self) -> torch.Tensor:
        return self.weight * self.scale


class Turned(nn.Module):
    def forward(self, weight):
        return weight.flip(0) * 1.5


def llama() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).eval()


ADAPTERS = {
    "low rank": LowRank, "low rank that shows the base's weight": lambda m: LowRank(m, True),
    "scaled output": lambda m: Scaled(m, False), "scaled input": lambda m: Scaled(m, True), "int8": Int8,
}  # fmt: skip


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("part", ["gate_proj", "up_proj", "down_proj"])
def test_merged_and_unmerged_adapters_give_the_same_features(name, part):
    """Against the same model with the merged weight in a plain linear map."""
    base = llama()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, merged = copy.deepcopy(base), copy.deepcopy(base)
        for k in range(2):
            adapter = ADAPTERS[name](getattr(model.model.layers[k].mlp, part))
            setattr(model.model.layers[k].mlp, part, adapter)
            getattr(merged.model.layers[k].mlp, part).weight.data = adapter.merged().detach().clone()
    got, want = (GeometryReader(m, TOKENS).read(TOKENS) for m in (model, merged))
    assert got.pooled.shape == (1, 2, 7)
    torch.testing.assert_close(got.pooled, want.pooled, rtol=1e-3, atol=2e-6)
    torch.testing.assert_close(got.hidden, want.hidden, rtol=1e-3, atol=1e-5)
    if part == "gate_proj" and name not in ("int8", "scaled output"):
        plain = GeometryReader(base, TOKENS).read(TOKENS)
        assert float((plain.pooled - got.pooled).abs().max()) > 1e-2


def test_a_parametrised_weight_counts_as_it_is_applied():
    model, merged = llama(), llama()
    gate = model.model.layers[0].mlp.gate_proj
    parametrize.register_parametrization(gate, "weight", Turned())
    merged.model.layers[0].mlp.gate_proj.weight.data = gate.weight.detach().clone()
    got, want = (GeometryReader(m, TOKENS).read(TOKENS).pooled for m in (model, merged))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_a_hook_that_changes_a_map_counts():
    model, merged = llama(), llama()
    model.model.layers[1].mlp.gate_proj.register_forward_hook(lambda m, a, out: -3 * out)
    merged.model.layers[1].mlp.gate_proj.weight.data.mul_(-3)
    got, want = (GeometryReader(m, TOKENS).read(TOKENS).pooled for m in (model, merged))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_a_norm_in_front_of_a_gate_leaves_the_gate_where_it_is():
    """Distances are in the normalised space, of the linear map itself."""
    model, plain = llama(), llama()
    for part in ("gate_proj", "up_proj"):
        mlp, norm = model.model.layers[1].mlp, model.model.layers[1].post_attention_layernorm
        setattr(mlp, part, nn.Sequential(norm, getattr(mlp, part)))
    model.model.layers[1].post_attention_layernorm = nn.Identity()
    reader = GeometryReader(model, TOKENS)
    assert reader.blocks[1].path == "layers.1.mlp.gate_proj.1"
    want = GeometryReader(plain, TOKENS).read(TOKENS).pooled
    torch.testing.assert_close(reader.read(TOKENS).pooled, want, rtol=1e-4, atol=1e-6)


class Bent(nn.Module):
    """An adapter with a nonlinearity that is written as none: the gate is no affine map any more."""

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.base = base

    def forward(self, x):
        return self.base(x) * (1 + x.square().mean(-1, keepdim=True))


class Normed(nn.Module):
    def __init__(self, base: nn.Linear):
        super().__init__()
        self.base, self.norm = base, nn.LayerNorm(base.out_features)

    def forward(self, x):
        return self.norm(self.base(x))


@pytest.mark.parametrize("adapter", [Bent, Normed])
def test_a_gate_that_is_no_affine_map_is_refused_though_other_blocks_could_be_read(adapter):
    model = llama()
    model.model.layers[1].mlp.gate_proj = adapter(model.model.layers[1].mlp.gate_proj)
    with pytest.raises(ModelError, match=r"module layers\.1\.mlp\.gate_proj; found an output that differs from every"):
        GeometryReader(model, TOKENS)


class VirtualTokens(nn.Module):
    """Prompt tuning: trained states in front of the prompt's."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.base_model = inner
        self.prompt = nn.Parameter(torch.randn(1, 3, 32))

    def forward(self, input_ids, attention_mask=None, use_cache=None):
        states = self.base_model.get_input_embeddings()(input_ids)
        return self.base_model(inputs_embeds=torch.cat([self.prompt.expand(len(states), -1, -1), states], 1))


class Around(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.base_model = inner

    def forward(self, input_ids, attention_mask=None, use_cache=None):
        return self.base_model(input_ids, attention_mask=attention_mask)


def test_virtual_tokens_are_refused_and_a_wrapper_that_adds_none_is_read_through():
    model = VirtualTokens(llama()).eval()
    for read in (GeometryReader, intrinsic_dimension):
        with pytest.raises(ModelError, match="a body that computes something else inside the whole model"):
            read(model, TOKENS)
    got, want = (GeometryReader(m, TOKENS).read(TOKENS) for m in (Around(llama()).eval(), llama()))
    assert torch.equal(got.pooled, want.pooled)


class OneByOne(nn.Module):
    """Experts that are modules of their own, each on its part of the tokens."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32)) for _ in range(2)
        )  # fmt: skip

    def forward(self, x):
        flat, out = x.reshape(-1, 32), torch.zeros_like(x).reshape(-1, 32)
        for k, expert in enumerate(self.experts):
            mine = (flat[:, 0] > 0) == bool(k)
            out[mine] = expert(flat[mine])
        return out.reshape(x.shape)


def test_experts_on_a_part_of_the_tokens_are_refused_though_other_blocks_could_be_read():
    model = llama()
    model.model.layers[1].mlp = OneByOne()
    with pytest.raises(ModelError, match=r"experts\.0\.0 on \d+ of 18 tokens \(routed or chunked\)"):
        GeometryReader(model, TOKENS)


class ByHand(nn.Module):
    """An MLP written with functions and bare parameters."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(48, 32)), nn.Parameter(torch.randn(32, 48))

    def forward(self, x):
        return nn.functional.relu(x @ self.a.T) @ self.b.T


def test_an_mlp_without_modules_is_refused_though_other_blocks_could_be_read():
    model = llama()
    model.model.layers[1].mlp = ByHand()
    with pytest.raises(ModelError, match="a nonlinearity in 'layers.1.mlp' over what no linear module gave"):
        GeometryReader(model, TOKENS)


class TimeFirst(nn.Module):
    """Gives its tokens to an MLP in one flat list, first tokens of all rows first."""

    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.mlp = mlp

    def forward(self, x):
        n, length, width = x.shape
        return self.mlp(x.transpose(0, 1).reshape(-1, width)).reshape(length, n, width).transpose(0, 1)


def test_tokens_in_a_flat_list_of_another_order_are_refused():
    model = llama()
    model.model.layers[1].mlp = TimeFirst(model.model.layers[1].mlp)
    with pytest.raises(ModelError, match="a row that is read otherwise beside another row"):
        GeometryReader(model, TOKENS)


def test_experts_that_do_something_else_than_their_layout_says_are_refused():
    config = transformers.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
    model = transformers.MixtralForCausalLM(config).eval()
    assert len(GeometryReader(model, TOKENS).blocks) == 2
    model.model.layers[1].mlp.experts.register_forward_hook(lambda m, a, out: 2 * out)
    with pytest.raises(ModelError, match=r"experts layers\.1\.mlp\.experts \(MixtralExperts\); found another layout"):
        GeometryReader(model, TOKENS)
