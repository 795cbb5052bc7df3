"""The site: a page to draw a digit on, an API, and the model inline for comparison."""
