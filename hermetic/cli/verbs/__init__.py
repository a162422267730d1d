"""One module per command; each has ``main(words) -> exit code``."""
