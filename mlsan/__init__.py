"""ML-SAN, the Multi-Level Speaker-Adaptive Network, as a reproducible paper companion."""

__version__ = "0.1.0"
