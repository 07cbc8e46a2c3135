"""Tests; a package, so that they can share `tests.helpers` (pytest: pythonpath = ["."])."""
