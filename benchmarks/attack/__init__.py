"""Both pages attacked and operated as on the open internet: python -m benchmarks.attack --json FILE"""
