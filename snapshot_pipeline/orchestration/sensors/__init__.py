"""What looks at the installation every so often, one sensor a module.

Put here: when one looks, what is kept from look to look (the cursor), and one call.
Do not put here: what is looked at (`observations`), or anything that works without Dagster (`alerts`).
See https://docs.dagster.io/guides/automate/sensors.
"""
