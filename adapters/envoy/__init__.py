"""Envoy: ext_authz asks, the access log reports. Only `service.py` knows protobuf."""
