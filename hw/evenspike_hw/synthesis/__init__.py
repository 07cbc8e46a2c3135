"""Synthesis of the RTL's parts with Yosys: area by block, path length, routed clock."""
