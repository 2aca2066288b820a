"""The demo shop: its files (`project/`), how they get into a directory, and what proves that it works."""
