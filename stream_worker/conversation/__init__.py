"""What a conversation is: its state, its mailbox, its local store."""
