"""One module a command: `add(commands)` describes it, `run(arguments)` carries it out."""
