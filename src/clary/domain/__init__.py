"""Names, states and rules. Pure: no I/O, no clock, no library."""
