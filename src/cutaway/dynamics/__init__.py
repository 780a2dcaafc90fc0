"""Two-layer networks on multi-index targets: exponents, closed equations of the overlaps, thresholds, simulators."""
