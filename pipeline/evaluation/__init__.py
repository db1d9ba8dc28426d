"""Ways of evaluating a model: whole in memory, or part by part."""
