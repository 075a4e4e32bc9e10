"""InCTRL (Zhu and Pang, CVPR 2024)."""
