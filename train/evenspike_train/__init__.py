"""Training and pruning of spiking networks (torch): from data to a `Program`.

The only part of evenspike that needs torch.  It knows the shared vocabulary of
`evenspike` (the `Program` it exports) and nothing of the hardware or of the
cycle model.
"""

__version__ = "0.1.0"
