"""One replica: loads a model, answers frames. Runs from the bundle, in the model's own environment."""
