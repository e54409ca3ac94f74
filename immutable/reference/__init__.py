"""Names of images: one grammar that store, registry, archives and engine share. Pure."""
