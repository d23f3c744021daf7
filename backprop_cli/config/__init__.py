"""YAML -> settings: read strictly, checked, and explained where they are wrong."""
