"""Questions answered from a collection, with citations; by a chat model where there is one, else by extraction."""
