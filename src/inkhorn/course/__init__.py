"""The course "Build a GPT": ten chapters, each one runnable file, and their exercises."""
