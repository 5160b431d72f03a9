"""Training of a potential's own weights on labelled crystals of a class, with replay of what it knew."""
