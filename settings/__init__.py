"""The settings of every command as one typed schema. It imports no PyTorch: a mistake should be answered at once."""
