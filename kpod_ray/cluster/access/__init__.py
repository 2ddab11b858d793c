"""Who may connect: tokens, the user's own cluster, and the folder of a local Ray."""
