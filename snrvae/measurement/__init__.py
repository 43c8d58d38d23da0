"""What codecs do on held-out points: distortion, rate, information, generation."""
