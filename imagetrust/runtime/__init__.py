"""What runs a backbone, and how far each precision may be trusted."""
