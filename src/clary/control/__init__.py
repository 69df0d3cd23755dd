"""Use cases: a module per resource, each a rule check and one transaction."""
