"""What the server says about itself: metrics, traces, logs, and how far its inputs have drifted from training."""
