"""Commands about jobs: state them, hand them over, look at them and act on them."""
