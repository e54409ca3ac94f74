"""Benchmarks: side by side with peers, in one run; see README.md."""
