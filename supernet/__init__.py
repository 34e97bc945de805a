"""Elastic models, training and search over sub-networks; knows nothing of budgets or records."""
