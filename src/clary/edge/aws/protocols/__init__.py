"""One module per AWS wire protocol: bytes to members, members to bytes."""
