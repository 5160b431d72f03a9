"""A correction of a potential's energies in closed form."""
