"""What is wrong with an installation, why it matters, and what cures it. Each group gathers facts, then judges them."""
