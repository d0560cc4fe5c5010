"""Side-by-side timing against the alternatives of a user: `make bench`, or `python -m benchmarks --help`."""
