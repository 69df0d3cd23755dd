"""The built-in object store: buckets and keys on a folder tree."""
