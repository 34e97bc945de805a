"""Data of the papers: pinned downloads, the papers' preparation, published scoring, tier ``paper``."""
