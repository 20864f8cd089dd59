"""Golden conversations: what is said to a bot, and what must come of it, on a whole worker in memory."""
