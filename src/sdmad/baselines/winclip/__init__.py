"""WinCLIP (Jeong et al., CVPR 2023)."""
