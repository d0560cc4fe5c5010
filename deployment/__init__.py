"""Endpoints and deployments of Azure ML, and the script that scores files in batches."""
