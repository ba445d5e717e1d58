"""Thin adapters: each opens a device and gives the pipeline what it heard."""
