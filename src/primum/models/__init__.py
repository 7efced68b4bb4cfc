"""What comes in: model references, safe loading of weights, the signature."""
