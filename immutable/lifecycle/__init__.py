"""Versions of images and letting go of them: generations, retention, prune, its targets."""
