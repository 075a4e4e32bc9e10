"""UniVAD: components of an image against those of a few normal images, without training."""
