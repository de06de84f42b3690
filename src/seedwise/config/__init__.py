"""YAML to validated sections: reading, options, overrides, and error messages. No torch."""
