"""MVFA (Huang et al., CVPR 2024)."""
