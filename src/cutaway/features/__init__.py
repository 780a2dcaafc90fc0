"""Features: what networks learn and how it is arranged (Neural LoFi, collapse, sparsity)."""
