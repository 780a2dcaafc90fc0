"""Shared by the tests of guardrails: a small language model as a folder, labelled prompts, a fitted guardrail."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

WORDS = [f"{kind}{i}" for kind in ("calm", "storm", "plain") for i in range(30)]


@pytest.fixture(scope="session")
def make_folder():
    """Writes a random-weight Llama with a word tokenizer into a folder."""
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    from tokenizers import Tokenizer, models, pre_tokenizers

    def make(folder, *, seed: int = 0, vocabulary: int = 128, positions: int = 64):
        config = transformers.LlamaConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
            vocab_size=vocabulary, max_position_embeddings=positions, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = transformers.LlamaForCausalLM(config)
            for parameter in model.parameters():
                parameter.data.add_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        known = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *WORDS])}
        tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "unk_token": "<unk>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return str(folder)

    return make


@pytest.fixture(scope="session")
def model_folder(make_folder, tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def make_rows():
    """`n` labelled prompts: harmful ones use more storm words, harmless ones more calm words; overlapping classes."""
    from cutaway.guard import from_lists

    def make(n: int, seed: int = 0, name: str = "prompts"):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 2
        texts = []
        for label in labels:
            words = [
                f"{('storm' if rng.random() < 0.2 + 0.6 * label else rng.choice(['calm', 'plain']))}{rng.integers(8)}"
                for _ in range(rng.integers(6, 14))
            ]
            texts.append(" ".join(words))
        return from_lists(texts, labels, [("north", "south")[i % 3 == 0] for i in range(n)], name=name)

    return make


@pytest.fixture(scope="session")
def fitted(model_folder, make_rows):
    from cutaway.guard import Guardrail

    return Guardrail(model_folder, rate=0.1).fit(make_rows(400))


@pytest.fixture(scope="session")
def guard_folder(fitted, tmp_path_factory):
    from cutaway.guard import save_guardrail

    return save_guardrail(fitted, tmp_path_factory.mktemp("guard"))
