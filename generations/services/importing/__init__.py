"""What happens to a file between its upload and the dataset version that it becomes."""
