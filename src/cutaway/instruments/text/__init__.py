"""Questions about what a language model says."""
