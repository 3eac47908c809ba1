"""The other models of Table 1 that are trained here, one a module.

All read a batch as ML-SAN does and tell speakers apart by `batch.party`, the role within the
dialogue. The graphs are dense tensors: with at most some hundred turns a dialogue, a graph library
would save nothing.
"""
