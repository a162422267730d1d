"""hb: a hermetic, content-addressed build graph for GPU inference images."""

__version__ = "0.1.0"
