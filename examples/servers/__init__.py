"""The other sides of the examples: servers and processes that stand for yours."""
