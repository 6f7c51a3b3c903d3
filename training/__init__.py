"""The offline jobs: from behaviour events to a model bundle."""

import os

# ONNX Runtime 1.29 and later report to their maker unless told not to before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
