"""vLLM engines: one thread and loop for each, processes that end with ours, what all are told of the machine."""
