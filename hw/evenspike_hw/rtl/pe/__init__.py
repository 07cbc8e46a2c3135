"""The processing element: its blocks, and `pe`, which wires them."""
