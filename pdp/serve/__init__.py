"""Processes and servers: supervisor, gRPC, ops."""
