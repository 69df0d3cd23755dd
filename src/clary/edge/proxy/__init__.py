"""A loopback proxy that answers AWS's own host names from a running server, for code that has them built in."""
