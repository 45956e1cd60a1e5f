"""From images to a released model."""
