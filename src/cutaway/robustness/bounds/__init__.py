"""Sound bounds on what a network computes over a region of inputs."""
