"""Measurement of codecs on held-out points: distortion, rate, information, generation."""
