"""Tasks: each is one engine operation in a child process, with retries, a timeout and tags. No logic."""
