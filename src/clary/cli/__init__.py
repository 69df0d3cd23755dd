"""The `clary` command: argv in, calls to the public API out. A file per command group."""
