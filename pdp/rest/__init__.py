"""The admin API over HTTP: parses requests, calls one use case each, and words the answers."""
