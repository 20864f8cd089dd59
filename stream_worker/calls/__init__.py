"""The I/O thread: action calls, attachments, model servers."""
