"""Questions about a network's affine pieces."""
