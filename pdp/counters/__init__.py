"""Backends of the `Counters` port."""
