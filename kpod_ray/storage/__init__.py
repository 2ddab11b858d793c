"""Files: artifacts of phases in local or object storage, and tables of the user's own."""
