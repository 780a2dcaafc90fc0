"""What reads language models: the geometry of their MLP blocks and the intrinsic dimension of their heads.

| file | what is in it |
|---|---|
| `forward` | one forward pass on token ids; the body of a model without head, decoder and wrappers |
| `flow` | follows the outputs of linear maps through one pass |
| `blocks` | finds the MLP blocks by what their linear maps do |
| `experts` | routed experts, read by token and weighted by the router |
| `pooling` | from pre-activations to seven numbers a prompt |
| `geometry` | seven spline features of every block, streamed in one forward pass |
| `intrinsic_dimension` | the intrinsic dimension of every head at every token |
| `token_similarity` | how alike two texts are by their tokens |
| `sentences` | one vector a text, one vector a token |
| `charts` | their pictures |
| `instruments` | `language-geometry` and `intrinsic-dimension` |
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "blocks": "MlpBlock find_mlp_blocks",
        "charts": "dimension_curve feature_map head_map layers_curve prompt_map",
        "dimension": "intrinsic_dimension",
        "geometry": "GeometryReader LanguageFeatures language_geometry",
        "token_similarity": "maxsim",
        "sentences": "SentenceReader sentence_vectors",
    },
)
