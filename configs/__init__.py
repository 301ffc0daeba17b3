"""Configs: data only. `common.py` holds every key; one file per way to train."""
