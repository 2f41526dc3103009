"""Code that the bundles have in common. It is packed into every bundle, so it imports nothing outside itself by path."""
