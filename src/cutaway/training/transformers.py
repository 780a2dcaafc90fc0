"""Small transformers: a vision transformer and a decoder on characters, with pre-norm blocks.

    x + attention(norm(x)),  then  x + project(act(expand(norm(x)))),  expand 4 times the width

vit-tiny (Dosovitskiy et al., arXiv 2010.11929) cuts the image into patches by a strided convolution, adds learned
positions, and averages over the patches instead of reading a class token (how we differ). char-gpt (Radford et al.
2019) is causal, with learned positions and untied embeddings; inputs are token numbers (n, length).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.training.parts import activated, image_shape


class Attention(nn.Module):
    """Multi-head self-attention over (n, length, width), causal if asked; heads must divide the width.

    Written out in products and a softmax, since torch's fused kernel has no forward-mode derivative, which several
    instruments need.
    """

    def __init__(self, width: int, heads: int, *, causal: bool, bias: bool):
        super().__init__()
        if width % heads:
            raise InputError(
                "heads",
                found=f"{heads} for width {width}",
                expected="a divisor of the width",
                remedy="give a number of heads that divides the width",
            )
        self.heads, self.causal = heads, causal
        self.mix = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, inputs: Tensor) -> Tensor:
        rows, length, width = inputs.shape
        split = self.mix(inputs).view(rows, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = split[0] @ split[1].transpose(-2, -1) * (width // self.heads) ** -0.5
        if self.causal:
            ahead = torch.ones(length, length, dtype=torch.bool, device=inputs.device).triu(1)
            scores = scores.masked_fill(ahead, float("-inf"))
        mixed = scores.softmax(dim=-1) @ split[2]
        return self.out(mixed.transpose(1, 2).reshape(rows, length, width))


class TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int, *, causal: bool, bias: bool, activation: str):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal, bias=bias)
        self.expand = nn.Linear(width, 4 * width, bias=bias)
        self.act = activated(activation)
        self.project = nn.Linear(4 * width, width, bias=bias)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs + self.attention(self.norm1(inputs))
        return inputs + self.project(self.act(self.expand(self.norm2(inputs))))


class VisionTransformer(nn.Module):
    """(n, C, H, W) to (n, outputs); H and W are multiples of `patch`."""

    def __init__(self, channels: int, patches: int, outputs: int, width: int, depth: int, patch: int, **options):
        super().__init__()
        self.cut = nn.Conv2d(channels, width, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, patches, width, dtype=torch.float32))
        self.blocks = nn.Sequential(*(TransformerBlock(width, causal=False, **options) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.cut(inputs).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(dim=1))


class CharGPT(nn.Module):
    """(n, length) token numbers to logits (n, length, outputs); `length` at most the one it was built for."""

    def __init__(self, length: int, outputs: int, width: int, depth: int, **options):
        super().__init__()
        self.embed = nn.Embedding(outputs, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, length, width, dtype=torch.float32))
        self.blocks = nn.Sequential(*(TransformerBlock(width, causal=True, **options) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        placed = self.embed(tokens) + self.positions[:, : tokens.shape[1]]
        return self.head(self.norm(self.blocks(placed)))


def vit_tiny(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    patch: int = 4,
    bias: bool = True,
    activation: str = "gelu",
) -> nn.Module:
    """A vision transformer of `depth` blocks; 0.2 million parameters as it stands."""
    channels, height, across = image_shape(input_shape)
    if height % patch or across % patch:
        raise InputError(
            "patch of the vit-tiny",
            found=str(patch),
            expected=f"a divisor of {height} and {across}",
            remedy="give a patch that divides both sides",
        )
    patches = (height // patch) * (across // patch)
    options = {"heads": heads, "bias": bias, "activation": activation}
    return VisionTransformer(channels, patches, outputs, width, depth, patch, **options)


def char_gpt(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    bias: bool = True,
    activation: str = "gelu",
) -> nn.Module:
    """A decoder on `outputs` characters for rows of up to `input_shape[0]` of them."""
    if len(input_shape) != 1:
        raise InputError(
            "inputs of the char-gpt",
            found=f"shape {tuple(input_shape)}",
            expected="(length,) of tokens",
            remedy="give rows of tokens, or another model",
        )
    options = {"heads": heads, "bias": bias, "activation": activation}
    return CharGPT(input_shape[0], outputs, width, depth, **options)
