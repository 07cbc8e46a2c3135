"""Power of a part: its netlist of standard cells, replayed with what the part saw in a run."""
