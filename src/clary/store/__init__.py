"""What is wanted and what was observed, in SQL. Only control opens it."""
