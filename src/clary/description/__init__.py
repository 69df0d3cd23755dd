"""What should run, described in a file: `clary plan` and `clary apply`. Pure: text in, differences out.

`source` reads TOML or YAML, `schema` says what may stand in it, `wanted` is what it means, `difference` compares that
with what runs. Asking and changing the server is the commands' (cli/plan.py, cli/apply.py).
"""
