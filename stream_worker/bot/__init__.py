"""The bot file: which intents lead to which answers."""
