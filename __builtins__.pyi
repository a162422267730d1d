# Read by editors: the names BUILD.py files have without importing them.
from hermetic.loading.prelude import *
