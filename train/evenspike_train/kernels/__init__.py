"""Compiled kernels: the fused neuron, and sparse maps on a CPU."""
