"""What is inside an image, and why."""
