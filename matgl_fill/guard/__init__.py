"""The guard: hands over a tuned model only if it kept what it knew."""
