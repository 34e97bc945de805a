"""Tables of whole joint spaces, and latencies predicted for them."""
