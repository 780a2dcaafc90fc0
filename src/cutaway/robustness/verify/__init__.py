"""From a question about a network to a verdict: attack, bounds, branch and bound, replay."""
