"""Stores, floors, zones, nodes and beacons: what stands where."""
