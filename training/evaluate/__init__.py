"""How good the model is, beside what anyone would try first: logistic regression, LightGBM, popularity."""
