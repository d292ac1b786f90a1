"""Verification of the installed package: ``python -m nodetool.concurrency.verify``.

This package has the specification's frozen graphs. It compares them with the machine and with real
runs of the pool. The pool imports nothing of this package.
"""
