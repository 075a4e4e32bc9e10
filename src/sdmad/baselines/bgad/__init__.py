"""BGAD (Yao et al., CVPR 2023)."""
