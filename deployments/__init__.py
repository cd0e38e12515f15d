"""Deployments: when, where and with which parameters flows run; and the command line. No logic."""
