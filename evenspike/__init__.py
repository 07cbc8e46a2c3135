"""The shared vocabulary of evenspike: numpy and the standard library, no torch, no amaranth."""

__version__ = "0.1.0"
