"""NGINX's usage lines, as they come: over UDP, and at the end of a growing file."""
