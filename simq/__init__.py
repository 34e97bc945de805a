"""SimQ-NAS: architecture and precision of every layer searched together (Sridhar et al., 2023)."""
