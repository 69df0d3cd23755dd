"""What several suites share: a real server, a small model, processes to look at."""
