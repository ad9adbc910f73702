"""Engines: init, step and run over pytrees."""
