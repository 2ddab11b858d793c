"""Phase ``questions``: load or generate questions, normalise their answers, choose the test split."""
