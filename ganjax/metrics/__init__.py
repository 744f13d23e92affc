"""Metrics: pure functions of features, logits or images, in float64 on the host."""
