"""Recipes: what a training run depends on, as TOML files, and how they are read and varied."""
