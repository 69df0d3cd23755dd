"""The supervisor: owns the listeners and the table of processes that should run. Standard library only."""
