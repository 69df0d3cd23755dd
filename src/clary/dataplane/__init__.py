"""The hot path: one request in, one answer out. Moves bytes, never arrays."""
