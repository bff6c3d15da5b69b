"""What computes: NumPy or the native kernel."""
