"""Engines that run the RTL top: compiled to native code, or interpreted by Amaranth's simulator."""
