"""Random and mutated input for every entry point of the data plane; see docs/fuzzing.md."""
