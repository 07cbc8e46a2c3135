"""The page of compression by ADMM: its tables and plots, functions of the cells that were run."""
