"""Instruments on how a network is connected."""
