"""The hardware: the RTL in Amaranth, engines that run it, its synthesis, and the boards."""
