"""npm: its lockfile read and selected from as ``npm ci`` does, and its registry."""
