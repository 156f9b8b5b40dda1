"""What a hidden joint costs: discs over joints and elsewhere, errors held against each other."""
