"""Other ways to serve the same rankings, each in an environment of its own, beside shoprank's server.

All of them answer `shoprank.v1.RankingService/RankItems` from the same snapshot of features, with the same bundle and
the same function for user × item features; what differs is where features come from and what runs the model. The
modules below run in their peer's environment and import of this project only `feature_repo`'s schema, transforms and
views, `shoprank` and this package.
"""
