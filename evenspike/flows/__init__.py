"""Flows: one function a use. Values in, values out; nothing is printed, and nothing exits."""
