"""From YAML to sections: reading, options, overrides, and messages for what is wrong. No torch."""
