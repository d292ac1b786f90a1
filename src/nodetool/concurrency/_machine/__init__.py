"""The pool's state machine. It decides everything and performs nothing.

At run time, nothing in this folder imports asyncio, threading or logging.
"""
