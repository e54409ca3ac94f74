"""Programs that take longer than a test may: `.ci/full` runs them, and CI samples of them."""
