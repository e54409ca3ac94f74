"""What vouches for what was built: signatures."""
