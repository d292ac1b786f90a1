"""Verification of the installed package: ``python -m nodetool.concurrency.verify``.

The specification's frozen graphs are here, and what compares them with the machine and with real
runs of the pool. Nothing of it is imported by the pool.
"""
