"""Model artifacts: content-addressed and immutable once pinned."""
