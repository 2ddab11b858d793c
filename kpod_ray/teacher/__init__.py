"""Phase ``teacher``: sample rationales, filter the samples, select the rationales for training."""
