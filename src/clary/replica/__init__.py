"""The wire between a router and a replica."""
