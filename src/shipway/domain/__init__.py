"""What shipway talks about: frozen data and rules, standard library only."""
