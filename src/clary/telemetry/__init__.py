"""Counters, latency sketches, logs and audit."""
