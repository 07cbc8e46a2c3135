"""The area reports: what each block of a synthesis takes, as tables and a treemap."""
