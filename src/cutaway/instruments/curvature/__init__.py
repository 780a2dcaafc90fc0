"""Instruments on how a loss bends."""
