"""Phase ``train``: training of the student with Ray Train, stage by stage."""
