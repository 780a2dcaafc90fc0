"""What reads language models: the geometry of their MLP blocks and the intrinsic dimension of their heads.

| file | what is in it |
|---|---|
| `blocks` | finds the MLP blocks by what their linear maps do |
| `geometry` | seven spline features of every block, streamed in one forward pass |
| `intrinsic_dimension` | the intrinsic dimension of every head at every token |
| `charts` | their pictures |
| `instruments` | `language-geometry` and `intrinsic-dimension` |
"""
