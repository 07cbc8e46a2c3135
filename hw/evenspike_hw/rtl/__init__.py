"""The accelerator in Amaranth, one file a block of the diagram; the PE's blocks are in `pe`."""
