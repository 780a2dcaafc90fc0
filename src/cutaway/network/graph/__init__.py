"""A model as operators: the one place that turns a `torch.nn.Module` into a plain list of what it computes.

`trace(model, example_inputs)` exports the model for one sample (`torch.export`, decomposed towards core ATen; the
module of an ONNX file is run once instead, see `recording`), folds everything that does not depend on the input, and
renames the rest into the small vocabulary below. Exact slices and
verified bounds both read this `Graph`, so an operator learned once serves both.

One sample. The graph is that of f(x[None]): every node's `shape` is its shape at batch size one, whatever the model
does with its batch dimension inside. A batch is an extra leading dimension that operators know nothing of:
`evaluate_graph` gives node values of shape (B, *node.shape), computed with `torch.vmap`. With `batched=True` (the
default) the first dimension of the inputs is that batch, and the sample shape is (1, *inputs.shape[1:]); with
`batched=False` the whole example is one sample (ONNX files without a batch dimension).

Vocabulary. `inputs` are indices of earlier nodes; tensors that do not depend on the input are `constants`, with the
broadcasting of torch; numbers are `attributes`.

| op | value | constants | attributes |
|---|---|---|---|
| `input` | what the user gives | | `index` |
| `constant` | a fixed tensor, where an operator needs one as an input | `value` | |
| `linear` | x Wᵀ + b on the last dimension | `weight` (out, in), `bias`? | |
| `convolution` | 1 to 3 dimensional | `weight`, `bias`? | `stride padding dilation transposed output_padding groups` |
| `constant_matmul` | x C, or C x with `left` | `matrix` (batched) | `left` |
| `scale_shift` | x * scale + shift, elementwise (constant sum or product, batch norm) | `scale`? `shift`? `reach`? | |
| `add` | sum of c_i x_i (add, sub) | | `coefficients` |
| `sum`, `mean` | over `dims` | | `dims keepdim` |
| `avg_pool` | average pooling of 1 to 3 dimensions | | `kernel stride padding ceil_mode count_include_pad divisor` |
| `adaptive_avg_pool` | | | `size` |
| `reshape`, `expand` | to `node.shape` | | |
| `permute` | | | `dims` |
| `slice` | | | `dim start end step` |
| `cat` | | | `dim` |
| `pad` | constant padding | | `pad value` |
| `take` | x.flatten()[index] in `node.shape`: other moves (index, flip, roll, upsampling, repeat) | `index` | |
| `relu`, `abs` | | | |
| `leaky_relu` | max(x,0) + slope * min(x,0) (LeakyReLU, PReLU, RReLU in evaluation) | `slope` | |
| `clamp` | Hardtanh, ReLU6, clamp | | `min max` (None: open) |
| `maximum`, `minimum` | of two nodes | | |
| `max_reduce` | maximum over `dims` (amax, maxout; amin through sign changes) | | `dims keepdim` |
| `max_pool` | | | `kernel stride padding dilation ceil_mode`, `pads`? (minus infinity, before) |
| `sigmoid tanh silu erf exp log sqrt rsqrt reciprocal square sin cos mish softsign` | elementwise, see `facts` | | |
| `atan hardswish floor ceil round sign` | elementwise, see `facts` | | |
| `threshold` | x if x > threshold else value | | `threshold value` |
| `gelu` | | | `approximate` |
| `elu` | scale * (x if x>0 else alpha (exp(input_scale x) - 1)) (ELU, SELU, CELU) | | `alpha scale input_scale` |
| `softplus` | log(1 + exp(beta x)) / beta | | `beta` |
| `power` | x ** exponent | | `exponent` |
| `mul`, `matmul` | products of two nodes | | |
| `softmax`, `log_softmax` | | | `dim` |
| `layer_norm` | over the last `num_dims` dimensions | `weight`? `bias`? | `num_dims eps` |
| `local_response_norm` | x / (k + alpha / size * sum of x² over neighbouring channels)^beta | | `size alpha beta k` |
| `embedding` | rows of a table, integer input | `weight` | |
| `aten.NAME...` | an operator outside the vocabulary, kept as it is | | `target args kwargs` |

Hardsigmoid, RMSNorm, GroupNorm, InstanceNorm, attention, LogSigmoid, Tanhshrink and division are
spelled out in these words. Tracing keeps what it does not know; the consumer that cannot go on calls
`graph.unsupported(node, consumer)`. What is known of each word (affine or not, kinks, slopes, curvature) stands in
`facts`, one record a word.
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "evaluation": "evaluate_graph output_of",
        "node": "Graph Node",
        "tracing": "trace",
    },
)
