"""Makes what runs equal what is wanted: pure plans, and one loop that acts on them."""
