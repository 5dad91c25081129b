"""A network of test chain nodes on loopback, and what end-to-end tests do to it. Plain Python 3, no packages."""
