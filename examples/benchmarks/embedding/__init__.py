"""Speed of embedding, and old checkpoints."""
