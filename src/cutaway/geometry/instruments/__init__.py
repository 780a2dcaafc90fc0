"""Instruments on the affine pieces: `ray-crossings`, `affine-slice`, `sample-region`."""
