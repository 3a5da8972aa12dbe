"""The data plane's journal on disk: append, replay, ship."""
