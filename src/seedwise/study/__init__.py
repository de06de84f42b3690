"""Studies: trains recipes over several seeds, and compares them."""
