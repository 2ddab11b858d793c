"""Run the phases in order; name artifacts by fingerprints; look runs up; read and export the corpus."""
