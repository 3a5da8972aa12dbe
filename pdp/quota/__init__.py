"""Pure: limits, windows, GCRA, holds, prices. Integers and `now` in, values out."""
