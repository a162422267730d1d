"""Sandboxes: run one command in a root filesystem that holds its declared inputs and no more."""
