"""Networks of transformers: export, automatic classes, starting weights."""
