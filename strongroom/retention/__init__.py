"""Retention: from facts and a policy to a plan of what stays and what expires, each with its reason. Pure."""
