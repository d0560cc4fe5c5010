"""Side-by-side timing against what a user would pick instead: `make bench`, or `python -m benchmarks --help`."""
