"""Residual networks for small images: ResNet-18 with pre-activation blocks, and ResNet-20.

resnet18 is the identity-mapping form (He et al., arXiv 1603.05027): x + conv(act(norm(conv(act(norm(x)))))), four
stages of two blocks with `width`, 2, 4 and 8 times `width` channels, the last three halving the image; width 16 is
the network of the delayed-robustness experiments (arXiv 2402.15555), 64 the usual one. resnet20 is the CIFAR form
(He et al., arXiv 1512.03385, section 4.2): three stages of three blocks act(x + norm(conv(act(norm(conv(x)))))). We
differ in the short cuts where the shape changes: 1x1 convolutions in both. Without `batch_norm` there is an Identity
in its place and convolutions have biases; with it they have none unless `bias` says so.
"""

from __future__ import annotations

from torch import Tensor, nn

from cutaway.training.parts import activated, image_shape


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a short cut; `pre` puts norm and activation before the convolutions."""

    def __init__(
        self, before: int, after: int, stride: int, *, pre: bool, batch_norm: bool, bias: bool, activation: str
    ):
        super().__init__()
        self.pre = pre
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.norm1, self.norm2 = norm(before if pre else after), norm(after)
        self.act1, self.act2 = activated(activation), activated(activation)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=bias)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=bias)
        changes = stride != 1 or before != after
        self.short = nn.Conv2d(before, after, 1, stride, bias=bias) if changes else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        if self.pre:
            start = self.act1(self.norm1(inputs))
            kept = inputs if isinstance(self.short, nn.Identity) else self.short(start)
            return kept + self.conv2(self.act2(self.norm2(self.conv1(start))))
        value = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(inputs)))))
        return self.act2(value + self.short(inputs))


def resnet18(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 16,
    batch_norm: bool = True,
    bias: bool | None = None,
    activation: str = "relu",
) -> nn.Module:
    """Pre-activation ResNet-18 for images of at least 8x8; 0.7 million parameters at width 16."""
    biased = not batch_norm if bias is None else bias
    first = _first(input_shape, width, biased)
    layers = _stages(width, 4, 2, pre=True, batch_norm=batch_norm, bias=biased, activation=activation)
    last = [nn.BatchNorm2d(8 * width) if batch_norm else nn.Identity(), activated(activation)]
    return nn.Sequential(first, *layers, *last, *_head(8 * width, outputs))


def resnet20(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: int = 16,
    batch_norm: bool = True,
    bias: bool | None = None,
    activation: str = "relu",
) -> nn.Module:
    """ResNet-20 for images of at least 4x4; 0.27 million parameters at width 16."""
    biased = not batch_norm if bias is None else bias
    norm = nn.BatchNorm2d(width) if batch_norm else nn.Identity()
    first = [_first(input_shape, width, biased), norm, activated(activation)]
    layers = _stages(width, 3, 3, pre=False, batch_norm=batch_norm, bias=biased, activation=activation)
    return nn.Sequential(*first, *layers, *_head(4 * width, outputs))


def _first(input_shape: tuple[int, ...], width: int, bias: bool) -> nn.Module:
    return nn.Conv2d(image_shape(input_shape)[0], width, 3, 1, 1, bias=bias)


def _stages(
    width: int, stages: int, blocks: int, *, pre: bool, batch_norm: bool, bias: bool, activation: str
) -> list[nn.Module]:
    """`stages` of `blocks`, each with twice the channels of the one before and, but for the first, half its image."""
    made: list[nn.Module] = []
    before = width
    for stage in range(stages):
        for block in range(blocks):
            after, stride = width * 2**stage, 2 if stage > 0 and block == 0 else 1
            made.append(
                ResidualBlock(before, after, stride, pre=pre, batch_norm=batch_norm, bias=bias, activation=activation)
            )
            before = after
    return made


def _head(channels: int, outputs: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)]
