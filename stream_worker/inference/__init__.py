"""The device thread, engines, encoder, tokenizer."""
