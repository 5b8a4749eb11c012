"""The network: one flat graph with live variables, its anatomy, and the passes over it.

Importing this package does not import TensorFlow; its modules do.
"""
