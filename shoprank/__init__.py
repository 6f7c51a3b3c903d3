"""Client and contract of shoprank: purchase probabilities and item rankings over gRPC."""
