"""What runs inside the servers that are compared; benchmarks/systems.py starts them."""
