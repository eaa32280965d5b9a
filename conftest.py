"""What pytest is not to import while it looks for doctests: bridges to packages that are no dependencies."""

collect_ignore = [f"qianru/compat/{name}.py" for name in ("haystack", "langchain", "llama_index", "sklearn")]
