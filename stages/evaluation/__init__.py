"""How well a model answers: asking it, judging the answers, and a page that shows the result."""
