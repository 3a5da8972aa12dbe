"""Use cases of the control plane; CLI, REST and the internal service call them."""
