"""Storage: artifacts of phases on local disks or in object storage, and files of the user."""
