"""Where foreign programs run: over a root file system of their own, twice, or not at all."""
