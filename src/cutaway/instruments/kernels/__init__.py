"""Instruments on what a network's gradients find alike."""
