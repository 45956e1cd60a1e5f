"""What an answer costs, here and with other servers. See docs/benchmarks.md."""
