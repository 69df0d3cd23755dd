"""Interpreters of models that bring a list of what they need: found in the artifact, built once, shared, removed."""
