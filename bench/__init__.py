"""Benchmarks beside named peers or a stated floor: `make bench NAME=cli`."""
