"""Data read from files: tables by name or path."""
