"""The accelerator on a board: memory, UART and their host side; no board in particular."""
