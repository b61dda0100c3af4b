"""The agent: a graph, its tools, its models. It knows no web framework and no frames."""
