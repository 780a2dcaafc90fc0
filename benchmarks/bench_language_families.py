"""Tiny random models of 52 families of transformers, and what comes out of each: blocks read, or why not.

    python benchmarks/bench_language_families.py [FAMILY ...]

prints the table (about 20 CPU seconds). Exit code 1 where a family gives another number of blocks than it has.
"""

from __future__ import annotations

import sys

import torch
import transformers as tf

from cutaway.errors import CutawayError
from cutaway.language.dimension import intrinsic_dimension
from cutaway.language.geometry import GeometryReader

D, F, L, H, V = 32, 64, 3, 4, 100
BASE = {
    "vocab_size": V, "hidden_size": D, "intermediate_size": F, "num_hidden_layers": L, "num_attention_heads": H,
    "max_position_embeddings": 64,
}  # fmt: skip
KV = {**BASE, "num_key_value_heads": 2}
WIDE_HEADS = {**KV, "head_dim": 8}
GPT = {"vocab_size": V, "n_embd": D, "n_layer": L, "n_head": H, "n_positions": 64}
T5 = {"vocab_size": V, "d_model": D, "d_kv": 8, "d_ff": F, "num_layers": L, "num_heads": H}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

# family: (class, configuration, its options, blocks that are there or None for a refusal)
FAMILIES: dict[str, tuple[str, str, dict, int | None]] = {
    "Llama": ("LlamaForCausalLM", "LlamaConfig", KV, L),
    "GPT2": ("GPT2LMHeadModel", "GPT2Config", GPT, L),
    "GPTNeo": ("GPTNeoForCausalLM", "GPTNeoConfig", {
        "vocab_size": V, "hidden_size": D, "num_layers": L, "num_heads": H, "intermediate_size": F,
        "attention_types": [[["global", "local", "global"], 1]], "max_position_embeddings": 64}, L),
    "GPTNeoX": ("GPTNeoXForCausalLM", "GPTNeoXConfig", BASE, L),
    "GPTJ": ("GPTJForCausalLM", "GPTJConfig", {**GPT, "rotary_dim": 4}, L),
    "OPT": ("OPTForCausalLM", "OPTConfig", {
        "vocab_size": V, "hidden_size": D, "ffn_dim": F, "num_hidden_layers": L, "num_attention_heads": H,
        "max_position_embeddings": 64, "word_embed_proj_dim": D}, L),
    "BLOOM": ("BloomForCausalLM", "BloomConfig", {"vocab_size": V, "hidden_size": D, "n_layer": L, "n_head": H}, L),
    "Falcon": ("FalconForCausalLM", "FalconConfig", {
        "vocab_size": V, "hidden_size": D, "num_hidden_layers": L, "num_attention_heads": H}, L),
    "MPT": ("MptForCausalLM", "MptConfig", {
        "vocab_size": V, "d_model": D, "n_layers": L, "n_heads": H, "max_seq_len": 64}, L),
    "Mistral": ("MistralForCausalLM", "MistralConfig", KV, L),
    "Mixtral": ("MixtralForCausalLM", "MixtralConfig", {**KV, "num_local_experts": 4, "num_experts_per_tok": 2}, L),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", KV, L),
    "Qwen2Moe": ("Qwen2MoeForCausalLM", "Qwen2MoeConfig", {
        **KV, **MOE, "shared_expert_intermediate_size": 48}, 2 * L),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", WIDE_HEADS, L),
    "Qwen3Moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**WIDE_HEADS, **MOE}, L),
    "DeepseekV3": ("DeepseekV3ForCausalLM", "DeepseekV3Config", {
        **BASE, "num_key_value_heads": H, "moe_intermediate_size": 32, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 8,
        "q_lora_rank": 16, "qk_rope_head_dim": 4, "v_head_dim": 8, "qk_nope_head_dim": 8}, 2 * L - 1),
    "GptOss": ("GptOssForCausalLM", "GptOssConfig", {
        **WIDE_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2, "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0}}, L),
    "Phi": ("PhiForCausalLM", "PhiConfig", BASE, L),
    "Phi3": ("Phi3ForCausalLM", "Phi3Config", {**KV, "pad_token_id": 0}, L),
    "Gemma": ("GemmaForCausalLM", "GemmaConfig", WIDE_HEADS, L),
    "Gemma2": ("Gemma2ForCausalLM", "Gemma2Config", WIDE_HEADS, L),
    "Gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", WIDE_HEADS, L),
    "Gemma3n": ("Gemma3nForCausalLM", "Gemma3nTextConfig", {
        **WIDE_HEADS, "vocab_size_per_layer_input": V, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0,
        "laurel_rank": 4, "activation_sparsity_pattern": None, "layer_types": ["full_attention"] * L}, L),
    "OLMo": ("OlmoForCausalLM", "OlmoConfig", KV, L),
    "OLMo2": ("Olmo2ForCausalLM", "Olmo2Config", KV, L),
    "SmolLM3": ("SmolLM3ForCausalLM", "SmolLM3Config", {**KV, "pad_token_id": 0}, L),
    "StableLM": ("StableLmForCausalLM", "StableLmConfig", KV, L),
    "Granite": ("GraniteForCausalLM", "GraniteConfig", KV, L),
    "Cohere": ("CohereForCausalLM", "CohereConfig", KV, L),
    "Starcoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", KV, L),
    "GPTBigCode": ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", GPT, L),
    "BERT": ("BertModel", "BertConfig", BASE, L),
    "BertMLM": ("BertForMaskedLM", "BertConfig", BASE, L),
    "BertSeqCls": ("BertForSequenceClassification", "BertConfig", BASE, L),
    "RoBERTa": ("RobertaModel", "RobertaConfig", BASE, L),
    "DistilBERT": ("DistilBertModel", "DistilBertConfig", {
        "vocab_size": V, "dim": D, "hidden_dim": F, "n_layers": L, "n_heads": H, "max_position_embeddings": 64}, L),
    "ALBERT": ("AlbertModel", "AlbertConfig", {**BASE, "embedding_size": 16}, L),
    "DeBERTa-v2": ("DebertaV2Model", "DebertaV2Config", {
        **BASE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, L),
    "ModernBERT": ("ModernBertModel", "ModernBertConfig", {
        **BASE, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}, L),
    "ELECTRA": ("ElectraModel", "ElectraConfig", {**BASE, "embedding_size": 16}, L),
    "MPNet": ("MPNetModel", "MPNetConfig", BASE, L),
    "XLNet": ("XLNetModel", "XLNetConfig", {
        "vocab_size": V, "d_model": D, "n_layer": L, "n_head": H, "d_inner": F}, L),
    "T5Encoder": ("T5EncoderModel", "T5Config", T5, L),
    "T5v1.1Encoder": ("T5EncoderModel", "T5Config", {**T5, "feed_forward_proj": "gated-gelu"}, L),
    "T5": ("T5ForConditionalGeneration", "T5Config", T5, L),
    "BART": ("BartModel", "BartConfig", {
        "vocab_size": V, "d_model": D, "encoder_layers": L, "decoder_layers": 2, "encoder_attention_heads": H,
        "decoder_attention_heads": H, "encoder_ffn_dim": F, "decoder_ffn_dim": F, "max_position_embeddings": 64}, L),
    "ViT": ("ViTModel", "ViTConfig", {
        "hidden_size": D, "intermediate_size": F, "num_hidden_layers": L, "num_attention_heads": H, "image_size": 16,
        "patch_size": 4}, None),
    "CLIPText": ("CLIPTextModel", "CLIPTextConfig", BASE, L),
    "Mamba": ("MambaForCausalLM", "MambaConfig", {
        "vocab_size": V, "hidden_size": D, "num_hidden_layers": L, "state_size": 8}, None),
    "Mamba2": ("Mamba2ForCausalLM", "Mamba2Config", {
        "vocab_size": V, "hidden_size": D, "num_hidden_layers": L, "state_size": 8, "num_heads": 8, "head_dim": 8,
        "n_groups": 1}, None),
    "RWKV": ("RwkvForCausalLM", "RwkvConfig", {
        "vocab_size": V, "hidden_size": D, "num_hidden_layers": L, "context_length": 64}, L),
    "Jamba": ("JambaForCausalLM", "JambaConfig", {
        **KV, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
        "num_experts": 2, "use_mamba_kernels": False, "mamba_d_state": 8}, L),
}  # fmt: skip


def build(family: str) -> torch.nn.Module:
    """The family's model, random weights and biases, in evaluation mode."""
    kind, configuration, options, _ = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = getattr(tf, kind)(getattr(tf, configuration)(**options)).eval()
        for parameter in model.parameters():  # default initialisers leave biases at 0, which would hide mistakes
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def example(family: str) -> torch.Tensor:
    """Token ids (1, 9), or an image for the family that reads images."""
    if family == "ViT":
        return torch.zeros(1, 3, 16, 16)
    return torch.randint(3, V, (1, 9), generator=torch.Generator().manual_seed(1))


def read(model: torch.nn.Module, tokens: torch.Tensor) -> tuple[str, int | None]:
    """What the features say of a model, and the number of its blocks, None where it is refused."""
    try:
        blocks = GeometryReader(model, tokens).blocks
    except CutawayError as error:
        return f"refused: {error}", None
    routed = sum(b.experts is not None for b in blocks)
    text = f"{len(blocks)} blocks" + (f", {routed} of routed experts" if routed else "")
    return f"{text} ({blocks[0].path}, ...)", len(blocks)


def heads(model: torch.nn.Module, tokens: torch.Tensor) -> str:
    """What the intrinsic dimension says of a model."""
    try:
        got = intrinsic_dimension(model, tokens)
    except CutawayError as error:
        return f"refused: {error}"
    return f"{got.shape[1]} blocks of {got.shape[2]} heads"


def main(arguments: list[str]) -> int:
    """Print the table of the families named, all by default; `--short` changes nothing, the whole takes seconds."""
    families = [name for name in arguments if name != "--short"]
    tf.logging.set_verbosity_error()
    wrong = 0
    for family in families or FAMILIES:
        model, tokens = build(family), example(family)
        text, number = read(model, tokens)
        wrong += number != FAMILIES[family][3]
        print(f"{family:14} {text[:150]}\n{'':14} heads: {heads(model, tokens)[:140]}", flush=True)
    print(f"{wrong} families with another number of blocks than they have")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
