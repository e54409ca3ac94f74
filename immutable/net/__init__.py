"""HTTP, TLS, retries and pools: what sources and transports share."""
