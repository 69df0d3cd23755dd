"""How each kind of model is loaded, fed and read."""
