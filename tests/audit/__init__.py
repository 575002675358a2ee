"""An audit of the books: a day is lived by greenrun and recomputed by code that shares nothing with it."""
