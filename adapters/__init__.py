"""Adapters that let unmodified proxies ask the PDP and report usage."""
