"""Supernets of Transformers and residual networks: elastic models, training, search and export of
sub-networks.

The order in which to read: ``space`` (search spaces and architectures), ``model_family`` and one file a model
(``seq2seq``, ``bert``, ``vit``, ...), ``weights`` (the source of a sub-network's weights), ``elastic`` (the
supernet), ``train``, ``search``, ``export``. Nothing here depends on budgets, records or the rest of the
project.
"""
