"""Phase ``questions``: questions from files, the Hugging Face hub or the arithmetic generator."""
