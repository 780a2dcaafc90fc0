"""Questions about what a network answers."""
