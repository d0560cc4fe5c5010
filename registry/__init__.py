"""What is done with the asset: keep its specification whole, fetch it, check it, run it, send it."""
