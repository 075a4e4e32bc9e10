"""DRA (Ding et al., CVPR 2022)."""
