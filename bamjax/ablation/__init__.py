"""Fair comparisons of attentions: many trainings, one recipe, intervals."""
