"""The study: recipes, trials, their store, and the choice among them."""
