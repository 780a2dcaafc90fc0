"""Questions about what a network has learned."""
