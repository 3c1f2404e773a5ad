"""T-Stitch: a small denoiser takes the first sampling steps, a large one the rest (arXiv 2402.14167)."""
