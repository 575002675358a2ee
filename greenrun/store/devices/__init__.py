"""What the store keeps of devices: on which nothing is to be started, and when."""
