"""Read and write artifacts on local disks and in object storage, and read files of the user."""
