"""Operators that are not affine and are more than a function of one number: maxima, steps, norms, normalisations.

A list is words with their further names, `word=name,name`.
"""

from __future__ import annotations

import math
from typing import Any

from cutaway.network.graph.fact import Arguments, Fact, Form


def _words(text: str, form: Form, family: str = "other", **known: Any) -> list[Fact]:
    pairs = [item.partition("=") for item in text.split()]
    return [
        Fact(word=word, form=form, family=family, names=tuple(n for n in names.split(",") if n), **known)
        for word, _, names in pairs
    ]


def _norm_form(arguments: Arguments) -> Form:
    order = arguments.get("ord", arguments.get("p", 2))
    return Form.PIECEWISE if order in (1, math.inf, -math.inf) else Form.CURVED


def _lp_form(arguments: Arguments) -> Form:
    return Form.PIECEWISE if arguments.get("norm_type") == 1 else Form.CURVED


MAX_POOLS = """max_pool=max_pool1d,max_pool2d,max_pool3d,max_pool1d_with_indices,max_pool2d_with_indices,
max_pool3d_with_indices,adaptive_max_pool1d,adaptive_max_pool2d,adaptive_max_pool3d,mkldnn_max_pool2d"""

STEPS = """trunc=fix eq=__eq__ ne=not_equal,__ne__ argmax argmin argsort nonzero searchsorted bucketize
signbit isclose floor_divide=__floordiv__,__rfloordiv__,__ifloordiv__ one_hot all any logical_and logical_or logical_not
logical_xor bitwise_and=__and__,__rand__,__iand__ bitwise_or=__or__,__ror__,__ior__ bitwise_not=__invert__
bitwise_xor=__xor__,__rxor__,__ixor__ count_nonzero"""

COMPARISONS = "step=gt,ge,lt,le,greater,greater_equal,less,less_equal,__gt__,__ge__,__lt__,__le__"

ATTENTION = """softmax=_softmax,_safe_softmax,special_softmax log_softmax=_log_softmax,special_log_softmax softmin
attention=scaled_dot_product_attention,multi_head_attention_forward,multihead_attention"""

NORMALISATION = """layer_norm=native_layer_norm rms_norm=_fused_rms_norm group_norm=native_group_norm normalize
local_response_norm"""

LP_POOLS = "lp_pool=lp_pool1d,lp_pool2d,lp_pool3d"
FRACTIONAL = "fractional_max_pool=fractional_max_pool2d,fractional_max_pool3d"

NORMS = "linalg_vector_norm=norm,linalg_norm,frobenius_norm dist=cdist,_cdist_forward,_pdist_forward,pairwise_distance"

BENDING_FACTS: list[Fact] = [
    *_words("maximum=fmax minimum=fmin", Form.PIECEWISE, "activation", gate="pair"),
    *_words("max=amax,max_reduce min=amin aminmax", Form.PIECEWISE, "activation", gate="window"),
    *_words(MAX_POOLS.replace("\n", ""), Form.PIECEWISE, "pooling", gate="window"),
    *_words("sort=msort topk kthvalue median=nanmedian cummax cummin", Form.PIECEWISE),
    *_words("fmod=remainder,__mod__,__rmod__,__imod__", Form.PIECEWISE, continuous=False, controls=("other",)),
    *_words("frac", Form.PIECEWISE, continuous=False),
    *_words("mask", Form.PIECEWISE, "activation"),  # a value cut by its own sign; not a name of torch's
    *_words("selection", Form.PIECEWISE, continuous=False),  # by something else's
    *_words(COMPARISONS, Form.STEP, "activation"),
    *_words(STEPS, Form.STEP),
    *_words(ATTENTION, Form.CURVED, "attention"),
    *_words(NORMALISATION, Form.CURVED, "normalisation"),
    *_words(LP_POOLS, Form.CURVED, "pooling", where=_lp_form),
    *_words(FRACTIONAL, Form.CURVED, "pooling"),
    *_words("tanhshrink glu logsigmoid=log_sigmoid,log_sigmoid_forward", Form.CURVED, "activation"),
    *_words(NORMS, Form.CURVED, where=_norm_form),
    *_words("exp2 expm1=special_expm1 log1p log2 log10 logsumexp prod var std cumprod", Form.CURVED),
    *_words("sinh cosh tan logaddexp lstm gru rnn_tanh rnn_relu", Form.CURVED),
]
"""One record each."""
