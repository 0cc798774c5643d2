"""The benchmark: `make bench` (docs/speed.md). Never a test: figures are reported, not asserted."""
