"""Scores files by the million: an engine's processes read a list in parts, and write a Parquet file for each."""
