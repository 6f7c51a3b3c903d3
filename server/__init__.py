"""The gRPC process: reads features from Feast's online store, runs ONNX Runtime, ranks."""
