"""What roughness costs and tells."""
