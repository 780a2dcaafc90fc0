"""The spline partition: exact 2-D slices, local complexity, distance to boundary, region statistics."""
