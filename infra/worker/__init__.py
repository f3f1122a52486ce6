"""The worker: its composition root, and the fold as others see it."""
