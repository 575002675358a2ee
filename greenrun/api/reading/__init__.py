"""What is read of the API: lists in pages, answers with tags, and those who wait for what is new."""
