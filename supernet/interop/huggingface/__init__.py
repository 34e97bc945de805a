"""Exchange with transformers: export, stock and automatic classes, tokenizers, warm starts."""
