"""kill -9 of any process at any moment, and an oracle that knows what must be left."""
