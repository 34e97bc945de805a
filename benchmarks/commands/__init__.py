"""What the commands do: one function each, named like the command, taking the parsed options."""
