"""Container engines of this machine, by their command lines: what runners and builders share."""
