"""The gain of a pool: the same work on real resources, with the pool and without it."""
