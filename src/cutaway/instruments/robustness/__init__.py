"""Questions about how far an answer may be relied on."""
