"""The rules hb ships: what a step is. Each module holds one family; BUILD.py files import them."""
