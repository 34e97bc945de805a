"""Pages that are made of the code: methods, commands, tiers, record schema and error messages."""
