"""What the process and the installed torch offer: threads of our own, and the parts of torch that are not public."""
