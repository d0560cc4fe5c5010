"""What is done with the asset: keep its specification whole, serve it and run its jobs here."""
