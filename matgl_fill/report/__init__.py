"""What a run tells: typed results, HTML page, model card, pictures."""
