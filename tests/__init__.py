"""The tests of immutable."""
