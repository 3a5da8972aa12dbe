"""What every proxy's adapter shares: routes, bodies, references, denials, usage. Pure."""
