"""Values that need no examples: numbers, dates, money, phones and the like, found by kept libraries. Pure."""
