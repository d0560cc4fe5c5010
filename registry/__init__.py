"""What is done with the asset: keep its specification whole, run it here."""
