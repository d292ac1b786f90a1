"""A pool of real SQLite connections under load: ``python -m demo``."""
