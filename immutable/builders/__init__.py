"""Layer kinds: one module each, found through the entry-point group ``immutable.builders``."""
