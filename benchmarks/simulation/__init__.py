"""What the rules of primum do over many simulated studies: one module a family of rules."""
