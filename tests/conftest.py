"""What holds for all tests."""

from hypothesis import settings

# Time is no property of the code: a busy machine must not fail a test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
