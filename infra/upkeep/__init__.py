"""Looking after a home: doctor, rebuild, a fresh home, witnesses of what was folded."""
