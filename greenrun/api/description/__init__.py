"""What the API says of itself: its OpenAPI document with examples, and a page of it."""
