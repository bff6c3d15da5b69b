"""The `inkhorn` command: one module per subcommand."""
