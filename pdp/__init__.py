"""Visca PDP: a policy decision point that sits beside an AI gateway's proxy."""

__version__ = "0.1.0"
