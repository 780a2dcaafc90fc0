"""Language-model geometry: families found by structure, oracles, invariances, early exit, instruments."""

import dataclasses

import numpy as np
import pytest
import torch

from cutaway.data import Dataset
from cutaway.errors import InputError, ModelError
from cutaway.instruments import IntrinsicDimension, LanguageGeometry
from cutaway.language.blocks import find_mlp_blocks
from cutaway.language.dimension import intrinsic_dimension, support_size
from cutaway.language.geometry import GeometryReader, language_geometry, token_batches
from cutaway.network import Network
from cutaway.status import Status

transformers = pytest.importorskip("transformers", reason="needs the extra hf")

WIDE = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SMALL = {**WIDE, "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0}
KV = {**SMALL, "num_key_value_heads": 4}
FAMILIES = {
    "llama": lambda: transformers.LlamaConfig(**KV),
    "mistral": lambda: transformers.MistralConfig(**KV),
    "qwen2": lambda: transformers.Qwen2Config(**KV),
    "qwen3": lambda: transformers.Qwen3Config(**KV, head_dim=8),
    "gemma": lambda: transformers.GemmaConfig(**KV, head_dim=8),
    "phi": lambda: transformers.PhiConfig(**KV),
    "phi3": lambda: transformers.Phi3Config(**KV),
    "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=100, n_positions=64),
    "bert": lambda: transformers.BertConfig(**SMALL),
}
GATES = {"gpt2": "c_fc", "bert": "intermediate.dense", "phi": "fc1", "phi3": "gate_up_proj"}


def build(family: str):
    auto = transformers.AutoModel if family == "bert" else transformers.AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = auto.from_config(FAMILIES[family](), attn_implementation="eager").eval()
        for parameter in model.parameters():  # default initialisers leave biases at 0, which would hide mistakes
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request):
    return request.param, build(request.param)


ROWS = [[5, 9, 3, 40, 41, 42, 7], [8], [11, 12, 13], [90, 91, 92, 93, 94, 95, 96, 97, 98]]


def test_blocks_are_found_by_structure(family):
    name, model = family
    blocks = find_mlp_blocks(model, torch.tensor([ROWS[0]]))
    assert [b.path.endswith(GATES.get(name, "gate_proj")) for b in blocks] == [True, True]
    assert all(b.hidden == 32 and b.width == (128 if name == "gpt2" else 48) for b in blocks)
    assert all(b.rows(model).shape == (b.width, 32) for b in blocks)


def test_features_match_a_naive_transcription_of_the_paper(family):
    name, model = family
    reader = GeometryReader(model, torch.tensor([ROWS[0]]))
    got = reader.read(torch.tensor([ROWS[0]]))
    for k, block in enumerate(reader.blocks):
        seen = []
        module = reader.model.get_submodule(block.path)
        handle = module.register_forward_hook(lambda m, a, o, seen=seen: seen.append(a[0][0]))
        with torch.no_grad():
            reader.model(torch.tensor([ROWS[0]]))
        handle.remove()
        weight = module.weight.detach().T if name == "gpt2" else module.weight.detach()
        bias = module.bias.detach() if getattr(module, "bias", None) is not None else torch.zeros(len(weight))
        share, distance = [], []
        for x in seen[0]:
            h = [float(weight[j].double() @ x.double() + bias[j]) for j in range(block.width)]
            share.append(sum(v > 0 for v in h) / block.width)
            distance.append(min(abs(v) / float(weight[j].double().norm()) for j, v in enumerate(h)))
        want = [np.mean(share), min(share), max(share), np.std(share, ddof=1)]
        want += [min(distance), np.mean(distance), np.std(distance, ddof=1)]
        np.testing.assert_allclose(got.pooled[0, k], want, rtol=2e-3, atol=2e-6)


def test_features_do_not_depend_on_batch_size_or_padding(family):
    _, model = family
    reader = GeometryReader(model, torch.tensor([ROWS[0]]))
    alone = [reader.read(torch.tensor([row])) for row in ROWS]
    for size in (2, 4):
        together = language_geometry(reader, ROWS, batch_size=size)
        for row, single in enumerate(alone):
            torch.testing.assert_close(together.pooled[row], single.pooled[0], rtol=1e-3, atol=2e-5)
            torch.testing.assert_close(together.hidden[row], single.hidden[0], rtol=1e-3, atol=2e-5)


def test_the_padding_test_can_fail(family):
    name, model = family
    reader = GeometryReader(model, torch.tensor([ROWS[0]]))
    padded = torch.tensor([ROWS[2] + [0, 0, 0, 0]])
    ignored = reader.read(padded)  # no mask: the padding is read as if it were text
    single = reader.read(torch.tensor([ROWS[2]]))
    assert float((ignored.pooled - single.pooled).abs().max()) > 1e-3, name


def test_early_exit_gives_the_first_blocks_and_stops_there(family):
    _, model = family
    reader = GeometryReader(model, torch.tensor([ROWS[0]]))
    tokens = torch.tensor([ROWS[0]])
    full, first = reader.read(tokens), reader.read(tokens, layers=1)
    assert first.pooled.shape == (1, 1, 7)
    torch.testing.assert_close(first.pooled[:, 0], full.pooled[:, 0])
    ran = []
    handle = reader.model.get_submodule(reader.blocks[1].path).register_forward_hook(lambda *_: ran.append(1))
    reader.read(tokens, layers=1)
    handle.remove()
    assert ran == []


def test_no_hook_is_left_behind_also_after_a_failure(family):
    _, model = family
    reader = GeometryReader(model, torch.tensor([ROWS[0]]))
    reader.vocabulary = None
    with pytest.raises(InputError, match="ids up to 10000, and index out of range"):
        reader.read(torch.tensor([[1, 10_000]]))
    reader.read(torch.tensor([ROWS[0]]), layers=1)
    assert sum(len(m._forward_hooks) for m in reader.model.modules()) == 0


def test_heads_agree_with_the_models_own_attention(family):
    _, model = family
    tokens, mask = torch.tensor([ROWS[0], ROWS[2] + [0] * 4]), torch.tensor([[1] * 7, [1, 1, 1, 0, 0, 0, 0]])
    got = intrinsic_dimension(model, tokens, mask, threshold=0.1)
    with torch.no_grad():
        attention = model(tokens, attention_mask=mask, output_attentions=True).attentions
    assert got.shape == (2, 2, 4)
    for row, last in ((0, 6), (1, 2)):
        for layer, weights in enumerate(attention):
            for head in range(4):
                line = weights[row, head, last].tolist()
                assert int(got[row, layer, head]) == sum(a > 0.1 * max(line) for a in line)
    every = intrinsic_dimension(model, tokens, mask, every_token=True)
    assert every.shape == (2, 2, 4, 7) and int(every[1, :, :, 3:].max()) == 0
    assert torch.equal(every[0, :, :, 6], got[0])


def test_support_size_bounds_the_dimension_of_the_mixture():
    weights = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.97, 0.01, 0.01, 0.01]])
    assert support_size(weights, 0.1).tolist() == [2, 1]
    assert support_size(weights, 0.005, relative=False).tolist() == [2, 4]
    with pytest.raises(InputError, match=r"threshold; found 1\.5; expected at least 0 and below 1"):
        support_size(weights, 1.5)


def test_gate_order_and_positive_scale_change_nothing():
    model = build("llama")
    tokens = torch.tensor([ROWS[0]])
    before = GeometryReader(model, tokens).read(tokens, layers=1).pooled
    gate = model.model.layers[0].mlp.gate_proj.weight
    with torch.no_grad():
        order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
        gate.copy_(gate[order] * torch.linspace(0.5, 2.0, 48)[:, None])
    after = GeometryReader(model, tokens).read(tokens, layers=1).pooled
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-6)


def test_one_token_has_no_spread_and_masks_are_checked():
    model = build("llama")
    reader = GeometryReader(model, torch.tensor([ROWS[0]]))
    single = reader.read(torch.tensor([[8]])).pooled
    assert torch.isfinite(single).all() and float(single[0, :, [3, 6]].abs().max()) == 0
    with pytest.raises(InputError, match="right padding"):
        reader.read(torch.tensor([[0, 5, 6]]), torch.tensor([[0, 1, 1]]))
    with pytest.raises(InputError, match="layers; found 3; expected 1 to 2"):
        reader.read(torch.tensor([[5]]), layers=3)
    with pytest.raises(InputError, match="row 1 without tokens"):
        language_geometry(reader, [[1], []])
    tokens = reader.read(torch.tensor([[5, 6, 0]]), torch.tensor([[1, 1, 0]]), per_token=True)
    assert tokens.share is not None and tokens.share.isnan()[0, 0].tolist() == [False, False, True]


def _albert():
    config = transformers.AlbertConfig(
        vocab_size=100, embedding_size=16, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, attn_implementation="eager",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AlbertModel(config).eval()
        for parameter in model.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def test_blocks_that_share_weights_are_a_block_each_time_they_run():
    """Against a hook of our own on the one shared module."""
    model, tokens = _albert(), torch.tensor([[7, 8, 9, 10]])
    reader = GeometryReader(model, tokens)
    path = reader.blocks[0].path
    assert [(b.path, b.call) for b in reader.blocks] == [(path, 0), (path, 1), (path, 2)]
    assert [b.name for b in reader.blocks] == [path, f"{path}, call 2", f"{path}, call 3"]
    gate, seen = reader.model.get_submodule(path), []
    handle = gate.register_forward_hook(lambda m, a, o: seen.append(o.detach()[0]))
    with torch.no_grad():
        reader.model(tokens)
    handle.remove()
    distance = [(h.abs() / gate.weight.detach().norm(dim=1)).amin(1).mean() for h in seen]
    assert min(abs(distance[i] - distance[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-3
    full = reader.read(tokens, per_token=True)
    assert full.pooled.shape == (1, 3, 7) and full.share is not None and full.share.shape == (1, 3, 4)
    torch.testing.assert_close(full.pooled[0, :, 5], torch.stack(distance))
    torch.testing.assert_close(full.hidden, reader.read(tokens, layers=None).hidden)
    for layers in (1, 2, 3):
        torch.testing.assert_close(reader.read(tokens, layers=layers).pooled, full.pooled[:, :layers])
    padded = language_geometry(reader, [[7, 8, 9, 10], [5, 6]])
    torch.testing.assert_close(padded.pooled[0], full.pooled[0], rtol=1e-4, atol=1e-5)
    data = Dataset(name="tokens", inputs=tokens.repeat(3, 1))
    values = LanguageGeometry().measure(Network(model, tokens), data).values
    assert values["features"].shape == (3, 3, 7) and len(set(values["block"].values)) == 3


def test_a_pass_with_fewer_blocks_than_the_example_is_told():
    model = build("llama")
    reader = GeometryReader(model, torch.tensor([ROWS[0]]))
    reader.model.layers = reader.model.layers[:1]
    reader.blocks = tuple(
        dataclasses.replace(b, path=reader.blocks[0].path, call=i) for i, b in enumerate(reader.blocks)
    )
    with pytest.raises(ModelError, match="1 MLP blocks run; expected 2"):
        reader.read(torch.tensor([ROWS[0]]))


def test_ids_outside_the_vocabulary_are_refused(family):
    _, model = family
    reader = GeometryReader(model, torch.tensor([ROWS[0]]))
    assert reader.vocabulary == 100
    for row, found in (([1, 200], "200"), ([5, 100], "100"), ([-1, 5], "-1")):
        with pytest.raises(InputError, match=f"the token ids; found {found}; expected 0 to 99, the model's vocabulary"):
            language_geometry(reader, [[3, 4], row])
    assert language_geometry(reader, [[99, 0]]).pooled.shape == (1, 2, 7)
    assert all(not m._forward_pre_hooks for m in reader.model.modules() if isinstance(m, torch.nn.Embedding))


def test_rows_longer_than_the_positions_are_refused():
    reader = GeometryReader(build("gpt2"), torch.tensor([ROWS[0]]))
    with pytest.raises(InputError, match="found 65 tokens, .*expected no more tokens than the model has positions"):
        language_geometry(reader, [[5] * 65])


class Plain(torch.nn.Module):
    """A transformer of one's own: no mask, no Hugging Face."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(50, 16)
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.body = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = torch.nn.Linear(16, 3)

    def forward(self, tokens):
        return self.head(self.body(self.embed(tokens)).mean(1))


def test_plain_models_are_read_in_batches_of_equal_length():
    model = Plain().eval()
    reader = GeometryReader(model, torch.tensor([[1, 2, 3]]))
    assert [b.path for b in reader.blocks] == ["body.layers.0.linear1", "body.layers.1.linear1"]
    rows = [[1, 2, 3], [4, 5], [6, 7, 8]]
    got = language_geometry(reader, rows)
    for k, row in enumerate(rows):
        torch.testing.assert_close(got.pooled[k], reader.read(torch.tensor([row])).pooled[0], rtol=1e-4, atol=1e-6)
    assert sorted(len(part) for part, _, _ in token_batches(rows, 32, pad=False)) == [1, 2]
    with pytest.raises(ModelError, match="no argument attention_mask"):
        reader.read(torch.tensor([[1, 2]]), torch.tensor([[1, 0]]))


def test_a_model_without_blocks_says_what_was_seen():
    model = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 10)).eval()
    with pytest.raises(ModelError, match="no MLP block among 1 linear maps"):
        find_mlp_blocks(model, torch.tensor([[1, 2]]))


def test_instruments_read_tokens_and_refuse_numbers():
    model = build("llama")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 100, (24, 9), generator=generator)
    tokens[12:, ::2] = 7
    data = Dataset(name="tokens", inputs=tokens, labels=torch.arange(24) // 12)
    reading = LanguageGeometry().measure(Network(model, tokens[:2]), data)
    assert reading.values["features"].shape == (24, 2, 7) and reading.figure("auroc").value > 0.9
    assert reading.figure("share_mean").low <= reading.figure("share_mean").value <= reading.figure("share_mean").high
    heads = IntrinsicDimension().measure(Network(model, tokens[:2]), data)
    assert heads.values["dimension"].shape == (24, 2, 4) and 4 <= heads.figure("last_block").value <= 36
    for instrument, made in ((LanguageGeometry(), reading), (IntrinsicDimension(), heads)):
        assert instrument.draw(made).to_dict()["layer" if "layer" in instrument.draw(made).to_dict() else "mark"]
        vision = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
        numbers = Dataset(name="numbers", inputs=torch.randn(8, 4))
        refused = instrument.measure(Network(vision, numbers.inputs[:2]), numbers)
        assert refused.status is Status.UNSUPPORTED and "language model" in refused.reason


def test_the_real_decoder_and_encoder(real_data):
    from cutaway.network.sources import load_model

    loaded = load_model(real_data / "stories260k")
    reader = GeometryReader(loaded.model, loaded.example)
    assert len(reader.blocks) == 5 and reader.blocks[0].width == 172
    encoder = load_model(f"{real_data}/sst_encoder/model.py:load('{real_data}/sst_encoder')")
    assert len(GeometryReader(encoder.model, torch.tensor([[2, 5, 9, 3]])).blocks) == 1
