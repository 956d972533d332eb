"""Translation: prompt, draft, policy."""
