"""What the benchmarks and the load tests share: images to send, processor time, conditions, percentiles and tables."""
