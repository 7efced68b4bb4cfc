"""Who may ask for what, how it is shown, and the record of what was asked."""
