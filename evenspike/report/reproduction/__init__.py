"""The page about the u-Ticket paper: each of its tables and figures beside what was measured here.

Each figure is a function of the record that `evenspike.flows.reproduce` makes, and of nothing else;
page and plots are functions of the figures.
"""
