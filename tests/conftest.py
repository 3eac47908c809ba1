"""Settings for every test: no window opens, and torch keeps to one thread."""

import os

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
