"""What people write: types, strict TOML, specs, locks, and the derivations they become."""
