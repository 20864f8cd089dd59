"""What reading commands print with `-o json` and `-o jsonl`: a dataclass for each, from which its schema is made."""
