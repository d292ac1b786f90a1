"""The asyncio part of the pool. It performs what the machine decides, and decides nothing."""
