"""The cycle model (numpy and numba): the accelerator's spikes and cycles without the RTL."""
