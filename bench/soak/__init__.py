"""A soak test: millions of leases in real time, with faults. Memory stays flat, nothing is lost."""
