"""Protocols that measure a release: metrics, corruptions, attacks, shortcuts, heat maps, and the report of them all."""
