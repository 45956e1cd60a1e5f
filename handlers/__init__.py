"""What runs inside a TorchServe worker. Nothing here imports training, so an archive stands alone."""
