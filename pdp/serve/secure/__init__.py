"""TLS in front of the native transport, which has none."""
