"""Settings for every test: no window opens, and torch keeps to one thread."""

import os

import pytest

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("checks")
