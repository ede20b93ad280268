"""What is looked for while nothing is scheduled: one module per sensor.

Put here: when a sensor looks, and what it asks for or tells. Do not put here: the look itself (`pipeline`).
See https://docs.dagster.io/guides/automate/sensors.
"""
