"""The codec: encoder, channel and decoder, of many cells at once."""
