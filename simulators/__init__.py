"""A store that knows the truth: people, their radios, tills and phones, speaking to the product only over its wires."""
