"""AA-CLIP (Ma et al., CVPR 2025)."""
