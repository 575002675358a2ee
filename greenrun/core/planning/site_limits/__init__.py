"""What a site keeps from jobs by the clock."""
