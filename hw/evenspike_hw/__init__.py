"""The accelerator in Amaranth: one file a block of the diagram. To come."""
