"""The evidence: models, tasks, seeds and arms, their statistics and their tables; fine-tuning beside it."""
