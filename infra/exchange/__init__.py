"""Market data on its way into the journal: providers, the collector, the simulated exchange,
files."""
