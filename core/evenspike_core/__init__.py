"""The contract that every part of evenspike shares, read first: numpy, no torch, no amaranth.

What a machine is (`arch`), what a network is (`program`), how one is laid out for the other
(`mapping`, `pack`), what its spikes must be (`reference`), and what is said when two runs differ
(`compare`). Nothing here knows a package above it.
"""
