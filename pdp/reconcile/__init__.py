"""What the counters in Redis have against what the ledger has: compared, corrected."""
