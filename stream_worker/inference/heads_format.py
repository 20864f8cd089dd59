"""The version of what trained heads are written as, apart from the code that reads them: that needs torch."""

HEADS_FORMAT = 3
