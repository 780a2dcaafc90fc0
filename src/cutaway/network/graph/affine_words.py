"""The allow-list: operators that are affine in their operands, or give nothing that depends on them.

Names are torch's and ATen's (without namespace, overload and trailing underscore). `factors` are operands of which only
one may depend on the input (the operator is a product of them); `controls` may not depend on it at all. Every other
operand enters affinely. What stands nowhere is not affine.
"""

from __future__ import annotations

from cutaway.network.graph.fact import Arguments, Fact, Form

CONSTANT = """zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty
new_empty_strided isnan isinf isfinite isposinf isneginf isreal size dim numel nelement stride storage_offset
element_size is_floating_point is_complex is_contiguous is_same_size get_device is_conj is_neg sym_size sym_numel
sym_stride sym_storage_offset ndimension result_type can_cast is_signed is_inference is_sparse
_set_grad_enabled is_shared is_pinned is_cuda is_meta
requires_grad requires_grad_ register_hook data_ptr untyped_storage storage __len__ __hash__"""

MOVES = """alias view _unsafe_view reshape _reshape_alias view_as reshape_as expand expand_as broadcast_to
broadcast_tensors permute transpose t adjoint swapaxes swapdims movedim moveaxis squeeze unsqueeze flatten unflatten
ravel slice select split split_with_sizes unsafe_split unsafe_split_with_sizes unsafe_chunk chunk tensor_split hsplit
vsplit dsplit unbind as_strided diagonal unfold narrow detach lift lift_fresh lift_fresh_copy contiguous
to float double half bfloat16 cpu cuda type_as copy positive cat concat concatenate stack hstack vstack dstack
column_stack row_stack block_diag atleast_1d atleast_2d atleast_3d repeat repeat_interleave tile flip fliplr flipud
roll rot90 constant_pad_nd pad reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
replication_pad3d _pad_circular tril triu pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle fold
im2col col2im view_as_real view_as_complex real imag conj _conj _conj_physical conj_physical _neg_view resolve_conj
resolve_neg complex slice_scatter select_scatter diagonal_scatter as_strided_scatter diag diag_embed resize
view_copy expand_copy permute_copy transpose_copy t_copy squeeze_copy unsqueeze_copy slice_copy select_copy
split_copy split_with_sizes_copy unbind_copy as_strided_copy diagonal_copy unfold_copy alias_copy detach_copy
unsafe_index_select upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d"""

SUMS = """add sub rsub subtract negative sum mean cumsum trace diff __add__ __radd__ __iadd__ __sub__ __rsub__
__isub__ __neg__ sum_to_size upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d
_upsample_bilinear2d_aa _upsample_bicubic2d_aa interpolate _fft_r2c _fft_c2r _fft_c2c dropout feature_dropout
alpha_dropout feature_alpha_dropout deg2rad rad2deg nan_to_num fill zero"""

SAME_ZEROS = "clone _to_copy neg"

PRODUCTS = {
    "mul": ("self other", "multiply __mul__ __rmul__ __imul__"),
    "mm": ("self mat2", ""),
    "bmm": ("self mat2", ""),
    "matmul": ("self other", "__matmul__ __rmatmul__"),
    "addmm": ("mat1 mat2", ""),
    "addmv": ("mat vec", ""),
    "addbmm": ("batch1 batch2", ""),
    "baddbmm": ("batch1 batch2", ""),
    "addr": ("vec1 vec2", ""),
    "mv": ("self vec", ""),
    "dot": ("self tensor", ""),
    "vdot": ("self other", ""),
    "linear": ("input weight", ""),
    "bilinear": ("input1 input2 weight i1 i2 i3", "_trilinear"),
    "einsum": ("tensors", "tensordot inner outer ger kron chain_matmul linalg_multi_dot"),
    "convolution": (
        "self input weight",
        "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution_overrideable "
        "_convolution mkldnn_convolution cudnn_convolution cudnn_convolution_transpose miopen_convolution "
        "thnn_conv2d _slow_conv2d_forward slow_conv3d conv_depthwise3d _conv_depthwise2d conv_tbc",
    ),
    "addcmul": ("tensor1 tensor2", ""),
    "linalg_cross": ("self other", "cross"),
    "linalg_vecdot": ("x y", "vecdot"),
}
"""word -> factors, other names."""

CONTROLLED = {
    "where": ("condition", ""),
    "masked_fill": ("mask", ""),
    "masked_scatter": ("mask", ""),
    "masked_select": ("mask", ""),
    "index": ("indices", "_unsafe_index __getitem__"),
    "index_put": ("indices", "_unsafe_index_put _index_put_impl __setitem__"),
    "index_select": ("index", ""),
    "index_add": ("index", ""),
    "index_copy": ("index", ""),
    "index_fill": ("index", ""),
    "gather": ("index", "take_along_dim"),
    "take": ("index", ""),
    "put": ("index", ""),
    "scatter_add": ("index", ""),
    "embedding": ("indices", ""),
    "max_unpool": ("indices", "max_unpool1d max_unpool2d max_unpool3d"),
    "lerp": ("weight", ""),
    "grid_sampler": ("grid", "grid_sample grid_sampler_2d grid_sampler_3d"),
}
"""word -> controls, other names."""


def _division(arguments: Arguments) -> Form:
    return Form.AFFINE if arguments.get("rounding_mode") is None else Form.STEP


def _batch_norm(arguments: Arguments) -> Form:
    return Form.CURVED if arguments.get("training") else Form.AFFINE


def _scatter(arguments: Arguments) -> Form:
    return Form.AFFINE if arguments.get("reduce") in (None, "add") else Form.CURVED


def _plain(words: str, form: Form, keeps_zeros: bool = False) -> list[Fact]:
    return [Fact(word=word, form=form, keeps_zeros=keeps_zeros) for word in words.split()]


MATRIX = {*PRODUCTS} - {"mul", "addcmul"}

AFFINE_FACTS: list[Fact] = [
    *_plain(CONSTANT, Form.CONSTANT),
    *_plain(MOVES, Form.AFFINE),
    *_plain(SUMS, Form.AFFINE),
    *_plain(SAME_ZEROS, Form.AFFINE, keeps_zeros=True),
    *(
        Fact(
            word=word,
            form=Form.AFFINE,
            family="product",
            site="matmul" if word in MATRIX else "product",
            factors=tuple(factors.split()),
            names=tuple(names.split()),
            keeps_zeros=word == "mul",
        )
        for word, (factors, names) in PRODUCTS.items()
    ),
    *(
        Fact(word=word, form=Form.AFFINE, controls=tuple(controls.split()), names=tuple(names.split()))
        for word, (controls, names) in CONTROLLED.items()
    ),
    Fact(
        word="div",
        form=Form.AFFINE,
        keeps_zeros=True,
        family="product",
        site="quotient",
        controls=("other",),
        where=_division,
        names=("divide", "true_divide", "__truediv__", "__rtruediv__", "__itruediv__", "__div__"),
    ),
    Fact(
        word="addcdiv", form=Form.AFFINE, family="product", site="quotient", factors=("tensor1",), controls=("tensor2",)
    ),
    Fact(
        word="batch_norm",
        form=Form.AFFINE,
        family="normalisation",
        factors=("input", "weight"),
        where=_batch_norm,
        controls=("running_mean", "running_var"),
        names=(
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "cudnn_batch_norm",
            "miopen_batch_norm",
            "instance_norm",
        ),
    ),
    Fact(
        word="avg_pool",
        form=Form.AFFINE,
        family="pooling",
        names=(
            "avg_pool1d",
            "avg_pool2d",
            "avg_pool3d",
            "adaptive_avg_pool1d",
            "adaptive_avg_pool2d",
            "adaptive_avg_pool3d",
            "_adaptive_avg_pool2d",
            "_adaptive_avg_pool3d",
            "adaptive_avg_pool",
            "mkldnn_adaptive_avg_pool2d",
        ),
    ),
    Fact(word="scatter", form=Form.AFFINE, controls=("index",), where=_scatter),
    Fact(word="scale_shift", form=Form.AFFINE, names=("constant_matmul", "input", "constant")),
]
"""One record each; the words of the graph among them."""
