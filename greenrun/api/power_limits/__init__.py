"""What the API says and settles of the power limits that jobs allow."""
