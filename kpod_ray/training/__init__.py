"""Phase ``train``: the student's training with Ray Train, stage by stage."""
