"""Phase ``evaluate``: a student's answers to the test questions, and their statistics."""
