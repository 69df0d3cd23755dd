"""Small tools with no knowledge of models: time, ids, tasks."""
