"""Requests put together into batches: a pure core, and its asyncio and thread faces."""
