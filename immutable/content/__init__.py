"""What is in a layer: entries, globs, tar, archives, compression."""
