"""The report of a run: typed results, HTML page, model card, pictures."""
