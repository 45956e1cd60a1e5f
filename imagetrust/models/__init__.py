"""What a released model is: its description, its backbone, its heads."""
