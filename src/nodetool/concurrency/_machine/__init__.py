"""The pool's state machine. It decides everything and performs nothing.

Nothing in this folder imports asyncio, threading or logging.
"""
