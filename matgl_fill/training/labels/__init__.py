"""Energies, forces and stresses of crystals: from an oracle, from DFT, and what follows from them."""
