"""Places that hold images and can be pruned: a store, a registry's repository, an engine."""
