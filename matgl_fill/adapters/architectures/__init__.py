"""One module for every architecture that is served: which tensors are its embedding."""
