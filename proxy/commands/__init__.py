"""What ``cli`` starts: the server, the demo, the checks."""
