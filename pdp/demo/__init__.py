"""`pdp demo`: a real Envoy, a real client and everything between them, on one machine."""
