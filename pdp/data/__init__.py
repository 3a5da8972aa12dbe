"""The data plane's side of the line to the control plane."""
