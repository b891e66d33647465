"""Starts programs, holds their deadlines, spools their logs and ends whole trees."""
