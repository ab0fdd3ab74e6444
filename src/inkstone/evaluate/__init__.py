"""How good a model is: likelihoods, baselines, confidence intervals, reports."""
