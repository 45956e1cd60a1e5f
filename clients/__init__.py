"""Thin clients of the server. They import nothing of it, so an application may copy them."""
