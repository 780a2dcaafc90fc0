"""What reads transformers: the geometry of their MLP blocks, their attention heads, what is written where.

| file | what is in it |
|---|---|
| `forward` | one forward pass on token ids; the body of a model without head, decoder and wrappers |
| `flow` | follows the outputs of linear maps through one pass |
| `blocks` | finds the MLP blocks by what their linear maps do |
| `experts` | routed experts, read by token and weighted by the router |
| `pooling` | from pre-activations to seven numbers a prompt |
| `geometry` | seven spline features of every block, streamed in one forward pass |
| `dimension` | the intrinsic dimension of every head at every token |
| `heads` | attention heads as writers, found, watched and scaled |
| `concepts` | places where an answer is given, and which heads write it |
| `reading_out` | from the residual stream to the answer: direct attribution, the logit lens |
| `cett` | how sparse the MLP blocks are at a fixed error |
| `token_similarity` | how alike two texts are by their tokens |
| `sentences` | one vector a text, one vector a token |
| `charts` | their pictures |
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "blocks": "MlpBlock find_mlp_blocks",
        "charts": "dimension_curve feature_map head_map layers_curve prompt_map",
        "dimension": "intrinsic_dimension",
        "heads": "HeadLayer find_heads read_matrix scaled_heads",
        "reading_out": "Tail find_tail",
        "geometry": "GeometryReader LanguageFeatures language_geometry",
        "token_similarity": "maxsim",
        "sentences": "SentenceReader sentence_vectors",
    },
)
