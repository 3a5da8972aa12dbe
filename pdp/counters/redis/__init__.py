"""Counters in Redis: exact over any number of data planes (docs/redis.md)."""
