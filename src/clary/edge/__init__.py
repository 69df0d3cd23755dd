"""Doors: they translate outside protocols and decide nothing."""
