"""The lifeline, for processes above the agent's package; see kit/lifeline.py (it travels in the worker bundle)."""

from __future__ import annotations

from clary.kit.lifeline import Identity, Lifeline, identity_of

__all__ = ["Identity", "Lifeline", "identity_of"]
