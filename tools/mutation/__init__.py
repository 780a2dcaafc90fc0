"""Mutation testing: small faults are planted one at a time, and the nearest tests must see them (`make mutate`)."""
