"""Writers of the files of `configs/weights.yaml` with random values, in the byte format and key names of their time.

Names and shapes are written down from the projects that published the files, or made by diffusers and torch-fidelity
themselves, and never by turning our loaders around. Each writer says where its layout was looked up. Each takes the
configuration that its network has, so the same code writes small files for tests and full-size ones for a rehearsal.
"""
