"""The guardrail as an HTTP service (extra `serve`): dynamic batching, limits, metrics, a page to try it."""
