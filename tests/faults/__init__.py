"""Faults at full load, counted: `docs/reliability.md` is written from these runs."""
