"""What a model costs: parameters, FLOPs, memory, and scaling laws."""
