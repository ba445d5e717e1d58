"""A node: hears radios, tells the cloud who is near in windows, and loses nothing while the network is away."""

__version__ = "0.1.0"
