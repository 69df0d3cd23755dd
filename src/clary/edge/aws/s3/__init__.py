"""The S3 door: HTTP in, the built-in object store behind it."""
