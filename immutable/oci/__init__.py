"""What the image-spec and distribution-spec say: digests, canonical JSON, platforms, documents."""
