"""Phase ``evaluate``: a model's answers to the test questions, its accuracy, and paired statistics."""
