"""Commands about jobs: submit, inspect and control them."""
