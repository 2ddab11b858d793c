"""Language models: finding and loading them, packed batches, generation, and safetensors files."""
