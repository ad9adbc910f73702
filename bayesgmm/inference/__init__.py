"""Engines: init, step and run over pytrees."""

SAMPLERS = {"gibbs": "bayesgmm.inference.gibbs", "nuts": "bayesgmm.inference.nuts"}
"""Samplers of a posterior by name: the module of each, imported when it is used."""
