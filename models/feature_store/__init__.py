"""The frozen networks' features, kept once by what they depend on; README of Featurizer has more.

`keys` says what a network's and an image's key is, `parts` how entries lie in files, `store` finds
and adds them, `stored_prefix` computes what is missing, `usage` says who refers to what.
"""
