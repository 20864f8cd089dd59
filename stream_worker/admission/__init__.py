"""How much is taken in hand, and for how long."""
