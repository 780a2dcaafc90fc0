"""The tracker in other people's loops: `adapters.lightning` and `adapters.huggingface`."""
