"""One module per AWS resource: shapes to domain and back."""
