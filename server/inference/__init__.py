"""The Open Inference Protocol, version 2: models as tensors in, tensors out."""
